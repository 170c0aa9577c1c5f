// SPDX-License-Identifier: BSD-3-Clause
#include "sim/report.h"

#include <stdlib.h>
#include <string.h>

#include "sim/sweep.h"
#include "sim/world.h"

static const struct {
	const char *name;
	enum counter counter;
} counters[] = {
	{"pulls", C_pulls_sent},
	{"pulls_answered", C_pulls_answered},
	{"takeovers", C_takeovers},
	{"handovers", C_handovers},
	{"epoch_conflicts", C_epoch_conflicts},
	{"tombstones", C_tombstones},
	{"tombstone_hits", C_tombstone_hits},
	{"relays", C_relay_tx},
	{"fragments_first", C_fragments_first},
	{"fragments_later", C_fragments_later},
	{"fragments_dropped", C_drop_fragment},
	{"repairs", C_repairs},
	{"requests", C_requests_tx},
	{"requests_applied", C_requests_applied},
	{"requests_ended", C_requests_ended},
	{"kind_asks", C_kind_asks_tx},
	{"kind_takeovers", C_kind_takeovers},
	{"kind_refused", C_kind_refused},
	{"kind_timeouts", C_kind_timeouts},
	{"kind_full", C_kind_full},
	{"kind_unprotected", C_kind_unprotected},
	{"log_messages", C_log_messages_tx},
	{"log_messages_lost", C_log_messages_lost},
	{"log_records", C_log_records_tx},
	{"log_records_stale", C_log_records_stale},
	{"invariants", C_drop_invariant},
	{"predicates", C_predicates_tx},
	{"confirms", C_confirms_rx},
	{"confirms_stale", C_confirms_stale},
	{"predict_unanswered", C_predict_unanswered},
	{"predict_moved", C_predict_moved},
	{"predict_fallbacks", C_predict_fallbacks},
	{"predictions_right", C_predictions_right},
	{"predictions_wrong", C_predictions_wrong},
};

static void put(json_t *o, const char *name, uint64_t value)
{
	json_object_set_new(o, name, json_integer((json_int_t)value));
}

static json_t *violation(const struct world *w, const struct violation *v, const char *fixed)
{
	char command[SWEEP_FIXED_SIZE + 64];
	json_t *o = json_object();

	snprintf(command, sizeof(command), "tripod-sim run --seed %llu%s%s",
		(unsigned long long)w->o.seed, *fixed != '\0' ? " " : "", fixed);
	put(o, "seed", w->o.seed);
	json_object_set_new(o, "checker", json_string(v->checker));
	json_object_set_new(o, "what", json_string(v->what));
	json_object_set_new(o, "command", json_string(command));
	json_object_set_new(o, "at_s", json_real((double)v->at_ns / 1e9));
	json_object_set_new(o, "trace", json_string(v->trace));
	return o;
}

json_t *report_of(const struct world *w, const char *fixed)
{
	const struct checker *c = &w->check;
	uint64_t all[COUNTERS], restarts = 0;
	struct hosts_totals t = {};
	json_t *o = report_empty();

	put(o, "seeds", 1);
	for (unsigned v = 0; v < c->n_violations && v < VIOLATIONS_MAX; v++)
		json_array_append_new(
			json_object_get(o, "violations"), violation(w, &c->violation[v], fixed));
	put(o, "violations_in_all", c->n_violations);
	put(o, "connections", c->connections);
	put(o, "broken", c->broken);
	put(o, "broken_beyond_contract", c->broken - c->excused);
	for (unsigned e = 0; e < EXCUSES; e++)
		put(o, check_excuse_names[e], c->excused_by[e]);
	put(o, "longest_stall_ms", c->longest_stall_ns / MS);
	world_counters(w, all);
	for (unsigned i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		put(o, counters[i].name, all[counters[i].counter]);
	for (unsigned i = 0; i < w->o.nodes; i++)
		restarts += w->node[i].boots > 1 ? w->node[i].boots - 1 : 0;
	put(o, "restarts", restarts);
	put(o, "reconfigured", w->totals.reconfigured);
	put(o, "failures", c->n_failures);
	put(o, "faults", w->faults.n);
	put(o, "emitted", c->emitted);
	put(o, "untied", c->untied);
	put(o, "stale_emissions", c->stale_emissions);
	put(o, "zombie_walks", c->zombies);
	put(o, "kind_settled", c->kinds.settled);
	put(o, "kind_roomy", c->kinds.roomy);
	put(o, "kind_over", c->kinds.most_over);
	put(o, "predicted", c->predicted);
	put(o, "unpredicted", c->unpredicted);
	put(o, "mispredicted", c->mispredicted);
	if (w->hosts != NULL)
		hosts_totals(w->hosts, &t);
	put(o, "packets", t.packets);
	put(o, "flood_packets", w->flood.sent);
	put(o, "pulls_timed", check_pulls_within(w, UINT64_MAX));
	put(o, "pulls_within_5_ms", check_pulls_within(w, 5 * MS));
	put(o, "retransmissions", t.retransmissions + t.fast_retransmissions);
	put(o, "frames_lost", w->totals.frames_lost);
	put(o, "steps", w->totals.steps);
	put(o, "workload_bytes", w->totals.workload_bytes);
	put(o, "control_bytes", w->totals.control_bytes);
	put(o, "virtual_ms", (w->now_ns - 100 * SEC) / MS);
	return o;
}

json_t *report_empty(void)
{
	json_t *o = json_object();

	put(o, "seeds", 0);
	json_object_set_new(o, "violations", json_array());
	return o;
}

// The largest of all runs is told, not their sum.
static bool is_most(const char *name)
{
	return strcmp(name, "longest_stall_ms") == 0 || strcmp(name, "kind_over") == 0;
}

void report_add(json_t *sum, const json_t *one)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)one, name, value)
	{
		json_t *had = json_object_get(sum, name);
		json_int_t before = json_integer_value(had), now = json_integer_value(value);
		if (json_is_array(value))
			json_array_extend(had, value);
		else if (json_is_integer(value) && !is_most(name))
			put(sum, name, (uint64_t)(before + now));
		else if (json_is_integer(value))
			put(sum, name, (uint64_t)(now > before ? now : before));
	}
}

static double number(const json_t *o, const char *name)
{
	return (double)json_integer_value(json_object_get(o, name));
}

void report_finish(json_t *sum)
{
	double workload = number(sum, "workload_bytes");

	json_object_set_new(sum, "control_ratio",
		json_real(workload > 0 ? number(sum, "control_bytes") / workload : 0));
}

void report_strip(json_t *sum)
{
	size_t i;
	json_t *v;

	json_array_foreach(json_object_get(sum, "violations"), i, v) json_object_del(v, "trace");
}

static const char *text(const json_t *o, const char *name)
{
	const char *t = json_string_value(json_object_get(o, name));
	return t != NULL ? t : "";
}

void report_print(const json_t *sum, FILE *to)
{
	const char *name;
	json_t *value, *v;
	size_t i;

	json_array_foreach(json_object_get(sum, "violations"), i, v)
	{
		fprintf(to, "%s", text(v, "trace"));
		fprintf(to, "VIOLATION of %s at %.6f s: %s\n    repeat: %s\n\n", text(v, "checker"),
			json_real_value(json_object_get(v, "at_s")), text(v, "what"),
			text(v, "command"));
	}
	json_object_foreach((json_t *)sum, name, value)
	{
		if (json_is_integer(value))
			fprintf(to, "%-24s %lld\n", name, (long long)json_integer_value(value));
		else if (json_is_real(value))
			fprintf(to, "%-24s %.4f\n", name, json_real_value(value));
	}
}
