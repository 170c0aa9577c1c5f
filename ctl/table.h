// SPDX-License-Identifier: BSD-3-Clause
// What tripodctl shows, described once and rendered twice: as a table for people, with numbers that
// can be read, and as JSON for programs, with numbers that are exact.
//
// Thread: one thread.
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

enum table_format {
	TABLE_TEXT,
	TABLE_COUNT, // 1.2 M
	TABLE_BYTES, // 34 GiB
	TABLE_MS, // a duration in milliseconds: 2 h 4 min
	TABLE_US,
	TABLE_BOOL, // yes, no
	TABLE_LIST, // 1,2,3
	TABLE_ENDPOINT, // address from key, port from key2
	TABLE_RATE, // a count per second
};

struct table_column {
	const char *key; // in the daemon's answer; "reply.src" goes into an object. NULL ends.
	const char *title; // NULL: in JSON only
	enum table_format format;
	const char *key2;
	int width; // at least
};

// One value for people; "-" for what is missing.
void table_format(const json_t *row, const struct table_column *c, char *out, size_t size);
void table_count(double v, char *out, size_t size);
void table_bytes(double v, char *out, size_t size);
void table_duration_us(double us, char *out, size_t size);

// Of a row, the members that the columns describe, as a new object.
json_t *table_select(const json_t *row, const struct table_column *columns);

// One "Title  value" line per column.
void table_record(FILE *f, const json_t *record, const struct table_column *columns);

#define TABLE_COLUMNS_MAX 24
struct table {
	const struct table_column *columns;
	bool headed; // the titles have been printed
	int width[TABLE_COLUMNS_MAX];
};
// Rows under their titles; further calls go on with the table, columns only ever growing.
void table_rows(FILE *f, struct table *t, const json_t *rows);
