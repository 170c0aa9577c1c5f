// SPDX-License-Identifier: BSD-3-Clause
#include "ctl/table.h"

#include <inttypes.h>
#include <string.h>

#define CELL_SIZE 256

// Three significant digits and a unit from a row of units, each `step` times the one before.
static void scaled(double v, double step, const char *const *units, char *out, size_t size)
{
	while (v >= step * 0.9995 && units[1] != NULL) {
		v /= step;
		units++;
	}
	snprintf(out, size,
		v >= 99.95   ? "%.0f%s%s"
		: v >= 9.995 ? "%.1f%s%s"
			     : "%.2f%s%s",
		v, units[0][0] != '\0' ? " " : "", units[0]);
}

void table_count(double v, char *out, size_t size)
{
	static const char *const units[] = {"", "k", "M", "G", "T", "P", "E", NULL};

	// Small numbers are not worth rounding.
	if (v < 10000)
		snprintf(out, size, "%.0f", v);
	else
		scaled(v, 1000, units, out, size);
}

void table_bytes(double v, char *out, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", NULL};

	if (v < 1024)
		snprintf(out, size, "%.0f B", v);
	else
		scaled(v, 1024, units, out, size);
}

void table_duration_us(double us, char *out, size_t size)
{
	uint64_t s = (uint64_t)(us / 1e6);

	if (us < 1000)
		snprintf(out, size, "%.0f us", us);
	else if (us < 1e6)
		snprintf(out, size, us < 1e4 ? "%.1f ms" : "%.0f ms", us / 1000);
	else if (us < 60e6)
		snprintf(out, size, "%.1f s", us / 1e6);
	else if (s < 3600)
		snprintf(out, size, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, size, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
	else
		snprintf(out, size, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
}

// "reply.src": member src of the object reply.
static const json_t *lookup(const json_t *row, const char *key)
{
	const char *dot = strchr(key, '.');
	char first[64];

	if (dot == NULL || (size_t)(dot - key) >= sizeof(first))
		return json_object_get(row, key);
	memcpy(first, key, (size_t)(dot - key));
	first[dot - key] = '\0';
	return json_object_get(json_object_get(row, first), dot + 1);
}

static void plain(const json_t *v, char *out, size_t size)
{
	if (json_is_string(v))
		snprintf(out, size, "%s", json_string_value(v));
	else if (json_is_integer(v))
		snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_boolean(v))
		snprintf(out, size, "%s", json_is_true(v) ? "yes" : "no");
	else if (json_is_real(v))
		snprintf(out, size, "%.2f", json_real_value(v));
	else
		snprintf(out, size, "-");
}

static void list(const json_t *v, char *out, size_t size)
{
	size_t used = 0, i;
	const json_t *item;

	snprintf(out, size, "-");
	json_array_foreach(v, i, item)
	{
		char one[64];

		plain(item, one, sizeof(one));
		used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? "," : "", one);
		if (used >= size)
			return;
	}
}

static void endpoint(const json_t *row, const struct table_column *c, char *out, size_t size)
{
	const json_t *port = lookup(row, c->key2);
	char addr[64];

	plain(lookup(row, c->key), addr, sizeof(addr));
	snprintf(out, size,
		strchr(addr, ':') != NULL ? "[%s]:%" JSON_INTEGER_FORMAT
					  : "%s:%" JSON_INTEGER_FORMAT,
		addr, json_integer_value(port));
}

void table_format(const json_t *row, const struct table_column *c, char *out, size_t size)
{
	const json_t *v = lookup(row, c->key);
	double n = json_number_value(v);

	if (c->format == TABLE_LIST)
		list(v, out, size);
	else if (c->format == TABLE_ENDPOINT)
		endpoint(row, c, out, size);
	else if (!json_is_number(v) || c->format == TABLE_TEXT || c->format == TABLE_BOOL)
		plain(v, out, size);
	else if (c->format == TABLE_COUNT)
		table_count(n, out, size);
	else if (c->format == TABLE_BYTES)
		table_bytes(n, out, size);
	else if (c->format == TABLE_MS)
		table_duration_us(n * 1000, out, size);
	else if (c->format == TABLE_US)
		table_duration_us(n, out, size);
	else if (n > 0 && n < 10)
		snprintf(out, size, "%.1f/s", n);
	else {
		table_count(n, out, size);
		if (strlen(out) + 3 <= size)
			strcat(out, "/s");
	}
	// What the daemon sent may have come from anywhere: no control characters on a terminal.
	for (char *p = out; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
}

static void select_one(json_t *out, const json_t *row, const char *key)
{
	char top[64];
	size_t len = strcspn(key, ".");
	json_t *v;

	if (len >= sizeof(top))
		return;
	memcpy(top, key, len);
	top[len] = '\0';
	v = json_object_get(row, top);
	if (v != NULL)
		json_object_set(out, top, v);
}

json_t *table_select(const json_t *row, const struct table_column *columns)
{
	json_t *out = json_object();

	for (; columns->key != NULL; columns++) {
		select_one(out, row, columns->key);
		if (columns->key2 != NULL)
			select_one(out, row, columns->key2);
	}
	return out;
}

void table_record(FILE *f, const json_t *record, const struct table_column *columns)
{
	int width = 0;

	for (const struct table_column *c = columns; c->key != NULL; c++)
		if (c->title != NULL && (int)strlen(c->title) > width)
			width = (int)strlen(c->title);
	for (const struct table_column *c = columns; c->key != NULL; c++) {
		char cell[CELL_SIZE];

		if (c->title == NULL)
			continue;
		table_format(record, c, cell, sizeof(cell));
		fprintf(f, "%-*s  %s\n", width, c->title, cell);
	}
}

static bool is_number(enum table_format format)
{
	return format == TABLE_COUNT || format == TABLE_BYTES || format == TABLE_MS ||
	       format == TABLE_US || format == TABLE_RATE;
}

static void cell_out(FILE *f, const struct table *t, int i, const char *text, bool last)
{
	if (is_number(t->columns[i].format))
		fprintf(f, "%*s", t->width[i], text);
	else
		fprintf(f, "%-*s", last ? 0 : t->width[i], text);
	fputs(last ? "\n" : "  ", f);
}

static void widen(struct table *t, int i, const char *text)
{
	int len = (int)strlen(text);

	if (len > t->width[i])
		t->width[i] = len;
}

void table_rows(FILE *f, struct table *t, const json_t *rows)
{
	char cell[CELL_SIZE];
	const json_t *row;
	int n = 0, last = 0;
	size_t r;

	for (; t->columns[n].key != NULL && n < TABLE_COLUMNS_MAX; n++) {
		if (t->columns[n].title == NULL)
			continue;
		last = n;
		if (t->columns[n].width > t->width[n])
			t->width[n] = t->columns[n].width;
		widen(t, n, t->columns[n].title);
		json_array_foreach(rows, r, row)
		{
			table_format(row, &t->columns[n], cell, sizeof(cell));
			widen(t, n, cell);
		}
	}
	for (int i = 0; i < n && !t->headed; i++)
		if (t->columns[i].title != NULL)
			cell_out(f, t, i, t->columns[i].title, i == last);
	t->headed = true;
	json_array_foreach(rows, r, row)
	{
		for (int i = 0; i < n; i++) {
			if (t->columns[i].title == NULL)
				continue;
			table_format(row, &t->columns[i], cell, sizeof(cell));
			cell_out(f, t, i, cell, i == last);
		}
	}
}
