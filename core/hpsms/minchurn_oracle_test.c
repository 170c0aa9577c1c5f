// SPDX-License-Identifier: BSD-3-Clause
// Placements against the optimum with whole copies, which glpsol (package glpk-utils) finds.
//
// The optima of 200 racks stand in minchurn_optima.h. A run places copies in all of them, and has glpsol
// solve a few again. TRIPOD_ORACLE=all: all of them (some minutes). TRIPOD_ORACLE=make: prints the table
// anew, which is to be done when core/testing/churn.c draws other racks; what glpsol does not solve
// in time is left out, whatever the placement is worth.
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/testing/churn.h"

#define INSTANCES 200

// optimum: what glpsol has proven that no placement is below, within 0.2% of one that it has found.
static const struct instance {
	uint32_t seed;
	uint8_t n, k, per_node;
	double optimum; // bytes that the node which has to fetch most has to fetch, on average
} instances[] = {
#include "core/hpsms/minchurn_optima.h"
};

static struct churn rack;
static struct minchurn batch[MINCHURN_NODES];
static struct minchurn_list naive[MINCHURN_NODES][MINCHURN_BATCH];
static unsigned which[MINCHURN_NODES][MINCHURN_BATCH]; // connection of each item
static double bytes[CHURN_CONNECTIONS][MINCHURN_NODES];

static void draw(const struct instance *x)
{
	churn_draw(&rack, x->seed, x->n, x->k, ODDS_MODULO, x->per_node);
	for (unsigned i = 0; i < rack.n; i++)
		batch[i].n = 0;
	for (unsigned c = 0; c < rack.connections; c++) {
		unsigned i = rack.c[c].master, at = batch[i].n++;
		which[i][at] = c;
		churn_item(&rack, &rack.c[c], &batch[i].item[at], &naive[i][at]);
		churn_enumerate(&rack, &rack.c[c], bytes[c]);
	}
}

// What the fullest node has to fetch, by every failure; checks that each connection has k + 1 copies.
static double judge(void)
{
	double load[MINCHURN_NODES] = {0}, top = 0;

	for (unsigned i = 0; i < rack.n; i++) {
		for (unsigned at = 0; at < batch[i].n; at++) {
			const struct churn_connection *c = &rack.c[which[i][at]];
			uint64_t holders = batch[i].item[at].chosen | c->placed;
			assert_int_equal(batch[i].item[at].chosen & c->placed, 0);
			assert_int_equal(holders >> rack.n, 0);
			assert_int_equal(__builtin_popcountll(holders), rack.k + 1);
			for (unsigned j = 0; j < rack.n; j++)
				load[j] += holders >> j & 1 ? 0 : bytes[which[i][at]][j];
		}
	}
	for (unsigned j = 0; j < rack.n; j++)
		top = load[j] > top ? load[j] : top;
	return top;
}

// All nodes at once, each its own connections. All that they tell each other is two bytes a node and step.
static double place(void)
{
	static uint16_t told[MINCHURN_NODES][MINCHURN_NODES];

	memset(told, 0, sizeof(told));
	for (unsigned i = 0; i < rack.n; i++)
		minchurn_begin(&batch[i]);
	for (unsigned step = 0; step < MINCHURN_STEPS; step++) {
		for (unsigned i = 0; i < rack.n; i++) {
			memset(batch[i].load, 0, sizeof(batch[i].load));
			for (unsigned o = 0; o < rack.n; o++) {
				for (unsigned j = 0; o != i && j < rack.n; j++)
					batch[i].load[j] += minchurn_unpack(told[o][j]);
			}
			minchurn_step(&batch[i], step);
			for (unsigned j = 0; j < rack.n; j++)
				told[i][j] = minchurn_pack(batch[i].mine[j]);
		}
	}
	return judge();
}

static double place_naively(void)
{
	for (unsigned i = 0; i < rack.n; i++)
		minchurn_first(&batch[i], naive[i]);
	return judge();
}

// ---- glpsol ----

static bool decides(unsigned c, unsigned j)
{
	return !(rack.c[c].placed >> j & 1) && bytes[c][j] > 0;
}

static void write_problem(FILE *f)
{
	fprintf(f, "Minimize\n most: R\nSubject To\n");
	for (unsigned j = 0; j < rack.n; j++) {
		double sum = 0;
		fprintf(f, " n%u: R", j);
		for (unsigned c = 0; c < rack.connections; c++) {
			if (!decides(c, j))
				continue;
			fprintf(f, "\n + %.12g r%u_%u", bytes[c][j], c, j);
			sum += bytes[c][j];
		}
		fprintf(f, " >= %.12g\n", sum);
	}
	for (unsigned c = 0; c < rack.connections; c++) {
		unsigned has = (unsigned)__builtin_popcountll(rack.c[c].placed);
		fprintf(f, " c%u: 0 R", c);
		for (unsigned j = 0; j < rack.n; j++) {
			if (decides(c, j))
				fprintf(f, " + r%u_%u", c, j);
		}
		fprintf(f, " <= %u\n", rack.k + 1 - has);
	}
	fprintf(f, "Binary\n");
	for (unsigned c = 0; c < rack.connections; c++) {
		for (unsigned j = 0; j < rack.n; j++) {
			if (decides(c, j))
				fprintf(f, " r%u_%u\n", c, j);
		}
	}
	fprintf(f, "End\n");
}

// What no placement of the drawn rack is below. false: not found in time.
static bool ask_glpsol(unsigned seconds, double *bound)
{
	char dir[] = "/tmp/tripod-oracle-XXXXXX", path[64], command[256], line[256];
	bool proven = false;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/problem.lp", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	write_problem(f);
	assert_int_equal(fclose(f), 0);
	snprintf(command, sizeof(command), "glpsol --lp %s --cuts --mipgap 0.002 --tmlim %u", path,
		seconds);
	f = popen(command, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		const char *best = strstr(line, ">>>>>");
		best = best != NULL ? best : strstr(line, "mip =");
		double found, least;
		if (best != NULL && sscanf(best + 5, " %lf >= %lf", &found, &least) == 2)
			*bound = least;
		else if (best != NULL && strstr(line, "tree is empty") != NULL)
			sscanf(best + 5, " %lf", bound);
		if (strstr(line, "INTEGER OPTIMAL") != NULL ||
			strstr(line, "RELATIVE MIP GAP TOLERANCE REACHED") != NULL)
			proven = true;
	}
	pclose(f);
	unlink(path);
	rmdir(dir);
	return proven;
}

static bool glpsol_there(void)
{
	return system("glpsol --version >/dev/null 2>&1") == 0;
}

static bool oracle_is(const char *what)
{
	const char *mode = getenv("TRIPOD_ORACLE");

	return mode != NULL && strcmp(mode, what) == 0;
}

// ---- The table ----

static void make_table(void)
{
	unsigned n = 0;

	for (uint32_t seed = 1; n < INSTANCES; seed++) {
		if (n == INSTANCES / 2 && seed < 200000)
			seed = 200000; // two halves can be made at the same time
		struct rng r = {.state = seed};
		struct instance x = {.seed = seed, .n = (uint8_t)(4 + rng_below(&r, 9))};
		x.k = (uint8_t)(2 + rng_below(&r, 2));
		x.per_node = (uint8_t)(6 + rng_below(&r, 23));
		if (x.n <= x.k + 1)
			continue;
		draw(&x);
		double bad = place_naively();
		if (!ask_glpsol(2, &x.optimum) || bad < 1.2 * x.optimum)
			continue;
		printf("{%u, %u, %u, %u, %.9g},\n", x.seed, x.n, x.k, x.per_node, x.optimum);
		fflush(stdout);
		n++;
	}
}

// ---- Tests ----

static void oracle__within_five_percent(void **state)
{
	double worst = 0, sum = 0;

	(void)state;
	for (unsigned i = 0; i < INSTANCES; i++) {
		const struct instance *x = &instances[i];
		draw(x);
		assert_true(place_naively() >= 1.2 * x->optimum);
		double over = place() / x->optimum - 1;
		if (over > 0.05 || over < -1e-6)
			fail_msg("seed %u: %.9g, the optimum is %.9g", x->seed,
				(over + 1) * x->optimum, x->optimum);
		worst = over > worst ? over : worst;
		sum += over;
	}
	printf("%u racks: %.2f%% above the optimum on average, %.2f%% at worst\n", INSTANCES,
		100 * sum / INSTANCES, 100 * worst);
}

// Are the table's optima those of the racks drawn here?
static void oracle__glpsol_agrees(void **state)
{
	unsigned asked = 0;

	(void)state;
	if (!glpsol_there()) {
		printf("glpsol is not installed (package glpk-utils)\n");
		skip();
	}
	for (unsigned i = 0; i < INSTANCES; i++) {
		const struct instance *x = &instances[i];
		double optimum;
		if (!oracle_is("all") && (x->n * x->per_node > 40 || asked == 8))
			continue;
		draw(x);
		assert_true(ask_glpsol(120, &optimum));
		if (optimum > x->optimum * 1.003 || optimum < x->optimum * 0.997)
			fail_msg("seed %u: glpsol says %.9g", x->seed, optimum);
		asked++;
	}
	printf("glpsol has solved %u of them again\n", asked);
	assert_true(asked >= 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(oracle__within_five_percent),
		cmocka_unit_test(oracle__glpsol_agrees),
	};
	static_assert(sizeof(instances) / sizeof(instances[0]) == INSTANCES);

	if (oracle_is("make")) {
		make_table();
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
