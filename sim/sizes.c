// SPDX-License-Identifier: BSD-3-Clause
#include "sim/sizes.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINTS_MAX 65536
#define LINE_SIZE 512
#define WHOLE (UINT64_C(1) << 32) // probability 1

struct point {
	uint64_t value, cumulative; // of WHOLE
};

struct sizes {
	bool step;
	unsigned count;
	struct point *points;
};

// The shape that most measured flow sizes have: half below one packet's worth, a long tail.
static const struct point BUILT_IN_POINTS[] = {
	{32, 0},
	{200, WHOLE / 100 * 25},
	{900, WHOLE / 100 * 50},
	{3000, WHOLE / 100 * 70},
	{12000, WHOLE / 100 * 85},
	{60000, WHOLE / 100 * 96},
	{300000, WHOLE / 1000 * 995},
	{1000000, WHOLE},
};

static uint64_t draw(const struct point *p, unsigned count, bool step, struct rng *r)
{
	uint64_t u = rng_next(r) >> 32;
	unsigned low = 0, high = count - 1;
	while (low < high) { // the first point above u
		unsigned middle = (low + high) / 2;
		if (p[middle].cumulative > u)
			high = middle;
		else
			low = middle + 1;
	}
	uint64_t value = p[low].value;
	if (!step && low > 0) {
		uint64_t width = p[low].cumulative - p[low - 1].cumulative;
		uint64_t part = u - p[low - 1].cumulative;
		unsigned __int128 span = value - p[low - 1].value;
		value = p[low - 1].value + (uint64_t)(span * part / width);
	}
	return value > 0 ? value : 1;
}

uint64_t sizes_draw(const struct sizes *s, struct rng *r)
{
	if (s)
		return draw(s->points, s->count, s->step, r);
	return draw(
		BUILT_IN_POINTS, sizeof(BUILT_IN_POINTS) / sizeof(BUILT_IN_POINTS[0]), false, r);
}

void sizes_free(struct sizes *s)
{
	if (s)
		free(s->points);
	free(s);
}

// ---- Reading ----

// One line into s; NULL or what is wrong with it.
static const char *read_line(struct sizes *s, double *last, const char *line)
{
	double value, probability;
	char rest;
	const char *at = line + strspn(line, " \t\r\n");
	if (*at == '#') {
		if (strstr(at, "columns:") && strstr(at, "step"))
			s->step = true;
		return NULL;
	}
	if (*at == '\0')
		return NULL;
	if (sscanf(at, "%lf %lf %c", &value, &probability, &rest) != 2)
		return "not a value and a probability";
	if (!(value >= 0 && value <= 1e15))
		return "the value is not between 0 and 1e15";
	if (!(probability >= 0 && probability <= 100))
		return "the probability is not between 0 and 1 (or 100)";
	if (s->count > 0 && value < (double)s->points[s->count - 1].value)
		return "the value is below that of the line before";
	if (s->count > 0 && probability < *last)
		return "the probability is below that of the line before";
	if (s->count == POINTS_MAX)
		return "more than 65536 points";
	// The probability stays as it is until the last one tells what is whole.
	s->points[s->count].value = (uint64_t)value;
	memcpy(&s->points[s->count++].cumulative, &probability, sizeof(probability));
	*last = probability;
	return NULL;
}

static const char *complete(struct sizes *s, double last)
{
	if (s->count == 0)
		return "no points";
	bool percent = last > 1.0;
	if (percent ? last < 99.9 : last < 0.999)
		return "the last probability is not 1 (or 100)";
	for (unsigned i = 0; i < s->count; i++) {
		double probability;
		memcpy(&probability, &s->points[i].cumulative, sizeof(probability));
		s->points[i].cumulative = (uint64_t)(probability / last * (double)WHOLE);
	}
	s->points[s->count - 1].cumulative = WHOLE;
	return NULL;
}

static const char *read_file(struct sizes *s, FILE *f, unsigned *line)
{
	char text[LINE_SIZE];
	double last = 0;
	while (fgets(text, sizeof(text), f)) {
		++*line;
		if (!strchr(text, '\n') && !feof(f))
			return "the line is too long";
		const char *why = read_line(s, &last, text);
		if (why)
			return why;
	}
	return ferror(f) ? "cannot be read" : complete(s, last);
}

struct sizes *sizes_load(const char *path, char *err, size_t err_size)
{
	unsigned line = 0;
	FILE *f = fopen(path, "r");
	if (!f) {
		snprintf(err, err_size, "%s: %s", path, strerror(errno));
		return NULL;
	}
	struct sizes *s = calloc(1, sizeof(*s));
	const char *why = "no memory";
	if (s && (s->points = calloc(POINTS_MAX, sizeof(*s->points))))
		why = read_file(s, f, &line);
	fclose(f);
	if (!why)
		return s;
	if (line == 0)
		snprintf(err, err_size, "%s: %s", path, why);
	else
		snprintf(err, err_size, "%s:%u: %s", path, line, why);
	sizes_free(s);
	return NULL;
}
