// SPDX-License-Identifier: BSD-3-Clause
#include "sim/sweep.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/world.h"

#define JOBS_MAX 64
#define HUNG_S 300 // and so much for each virtual second:
#define HUNG_PER_S 30
#define ENDLESS 1000000 // of more seeds than that nobody waits for the last

json_t *sweep_one(uint64_t seed, const struct overrides *fixed, const char *fixed_text,
	const struct sweep_watch *watch, uint64_t *hash)
{
	struct options o;

	options_draw(&o, seed, fixed);
	struct world *w = world_new(&o, watch != NULL ? watch->trace : NULL);
	w->check.watch = watch != NULL ? watch->key : NULL;
	world_run(w);
	json_t *report = report_of(w, fixed_text);
	if (hash != NULL)
		*hash = w->trace.hash;
	world_free(w);
	return report;
}

// After so long, a run hangs.
static unsigned hung_s(const struct sweep *s, uint64_t seed)
{
	struct options o;

	options_draw(&o, seed, s->fixed);
	return HUNG_S + (unsigned)(o.duration_ns / SEC) * HUNG_PER_S;
}

// ^C: what runs is waited for, and the sum is told; once more: what runs is given up.
static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	interrupted = interrupted + 1;
}

struct job {
	pid_t pid; // 0: free
	int from;
	uint64_t seed;
	char *text;
	size_t used, room;
};

static void start(struct job *j, const struct sweep *s, uint64_t seed)
{
	int pipes[2];

	fflush(NULL);
	if (pipe(pipes) != 0 || (j->pid = fork()) < 0) {
		fprintf(stderr, "tripod-sim: no further process: %s\n", strerror(errno));
		exit(2);
	}
	if (j->pid == 0) {
		close(pipes[0]);
		signal(SIGINT, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		alarm(hung_s(s, seed));
		FILE *out = fdopen(pipes[1], "w");
		json_t *report = sweep_one(seed, s->fixed, s->fixed_text, NULL, NULL);
		json_dumpf(report, out, JSON_COMPACT);
		fclose(out);
		_exit(0);
	}
	close(pipes[1]);
	j->from = pipes[0];
	j->seed = seed;
	j->used = 0;
}

// false: the other end has closed.
static bool take(struct job *j)
{
	if (j->room - j->used < 65536) {
		j->room = 2 * j->room + 65536;
		j->text = realloc(j->text, j->room);
		if (j->text == NULL)
			abort();
	}
	ssize_t n = read(j->from, j->text + j->used, j->room - j->used);
	if (n > 0)
		j->used += (size_t)n;
	return n > 0 || (n < 0 && errno == EINTR);
}

static json_t *crashed(const struct sweep *s, uint64_t seed, int status)
{
	json_t *o = report_empty(), *v = json_object();
	char what[128], command[SWEEP_FIXED_SIZE + 64];

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(what, sizeof(what), "the run hangs: not over after %u s", hung_s(s, seed));
	else
		snprintf(what, sizeof(what), "the run ended with %s %d",
			WIFSIGNALED(status) ? "signal" : "status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	snprintf(command, sizeof(command), "tripod-sim run --seed %llu%s%s",
		(unsigned long long)seed, *s->fixed_text != '\0' ? " " : "", s->fixed_text);
	json_object_set_new(o, "seeds", json_integer(1));
	json_object_set_new(o, "violations_in_all", json_integer(1));
	json_object_set_new(v, "seed", json_integer((json_int_t)seed));
	json_object_set_new(v, "checker", json_string("crash"));
	json_object_set_new(v, "what", json_string(what));
	json_object_set_new(v, "command", json_string(command));
	json_array_append_new(json_object_get(o, "violations"), v);
	return o;
}

// ---- Progress ----

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

// In place of the last one: how many are done, how fast, what was found, how long it will take.
static void progress(const struct sweep *s, const json_t *sum, unsigned bad, uint64_t began_ms)
{
	uint64_t done = (uint64_t)json_integer_value(json_object_get(sum, "seeds"));
	uint64_t all = s->last - s->first + 1, ms = now_ms() - began_ms + 1;

	if (!s->progress || done == 0)
		return;
	fprintf(stderr, "\r\033[K%llu", (unsigned long long)done);
	if (all <= ENDLESS)
		fprintf(stderr, " of %llu", (unsigned long long)all);
	fprintf(stderr, " seeds, %.1f/s, %u with violations", (double)done * 1000 / (double)ms,
		bad);
	uint64_t left_s = ms * (all - done) / done / 1000;
	if (interrupted)
		fprintf(stderr, ", the last ones are waited for");
	else if (all <= ENDLESS)
		fprintf(stderr, ", %llu:%02llu left", (unsigned long long)left_s / 60,
			(unsigned long long)left_s % 60);
}

// What a seed has violated, above the line of progress.
static void tell(const struct sweep *s, const json_t *report)
{
	const json_t *v = json_array_get(json_object_get(report, "violations"), 0);

	if (s->progress && v != NULL)
		fprintf(stderr, "\r\033[Kseed %lld: %s: %s\n",
			(long long)json_integer_value(json_object_get(v, "seed")),
			json_string_value(json_object_get(v, "checker")),
			json_string_value(json_object_get(v, "what")));
}

// ---- The jobs ----

// true: with violations.
static bool end(struct job *j, const struct sweep *s, json_t *sum)
{
	json_error_t error;
	int status;

	close(j->from);
	while (waitpid(j->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	j->pid = 0;
	json_t *report = json_loadb(j->text, j->used, 0, &error);
	if (report == NULL && interrupted > 1)
		return false; // given up
	if (report == NULL || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		json_decref(report);
		report = crashed(s, j->seed, status);
	}
	bool bad = json_array_size(json_object_get(report, "violations")) > 0;
	tell(s, report);
	report_add(sum, report);
	json_decref(report);
	return bad;
}

json_t *sweep_run(const struct sweep *s)
{
	struct job job[JOBS_MAX] = {};
	unsigned jobs = s->jobs < JOBS_MAX ? s->jobs : JOBS_MAX, running = 0, bad = 0;
	json_t *sum = report_empty();
	uint64_t next = s->first, began_ms = now_ms();

	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
	for (;;) {
		bool stop = interrupted || (s->stop_after > 0 && bad >= s->stop_after);
		for (unsigned i = 0; i < jobs && next <= s->last && !stop; i++) {
			if (job[i].pid != 0)
				continue;
			start(&job[i], s, next++);
			running++;
		}
		if (running == 0)
			break;
		struct pollfd fds[JOBS_MAX];
		for (unsigned i = 0; i < jobs; i++)
			fds[i] = (struct pollfd){
				.fd = job[i].pid != 0 ? job[i].from : -1, .events = POLLIN};
		for (unsigned i = 0; i < jobs && interrupted > 1; i++) {
			if (job[i].pid != 0)
				kill(job[i].pid, SIGKILL);
		}
		if (poll(fds, jobs, -1) < 0) {
			progress(s, sum, bad, began_ms);
			continue;
		}
		for (unsigned i = 0; i < jobs; i++) {
			if (job[i].pid == 0 || fds[i].revents == 0 || take(&job[i]))
				continue;
			bad += end(&job[i], s, sum);
			running--;
			progress(s, sum, bad, began_ms);
		}
	}
	if (s->progress)
		fprintf(stderr, "\n");
	for (unsigned i = 0; i < jobs; i++)
		free(job[i].text);
	report_finish(sum);
	return sum;
}
