// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_version.h>

#include "config/keys.h"
#include "core/hpsms/predict.h"
#include "core/hpsms/wire.h"
#include "core/store.h"

#define TAKEN_MS 1000 // workers look for new keys whenever they run

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *hex(uint64_t v)
{
	return json_sprintf("%016" PRIx64, v);
}

static json_t *node_set(uint64_t set)
{
	json_t *ids = json_array();

	for (unsigned i = 0; i < NODES_MAX; i++)
		if (set >> i & 1)
			json_array_append_new(ids, json_integer(i));
	return ids;
}

// Where the node stands on its way in or out, and what it waits for.
static json_t *phase(const struct node_status *s)
{
	bool joining = s->phase == NODE_JOINING;

	return json_pack("{s:s, s:o, s:b, s:o, s:o, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"phase", node_phase_name(s->phase), "phase_ms", number(s->phase_age_ns / 1000000),
		"joining_hearing", joining && s->join_hearing, "joining_unserved",
		node_set(joining ? s->join_unserved : 0), "joining_unknown",
		node_set(joining ? s->join_unknown : 0), "joining_ports", joining && s->join_ports,
		"ports_clear", s->ports_clear, "unreported_nodes",
		node_set(s->ports_clear ? 0 : s->unreported), "traffic_nodes", node_set(s->ports),
		"draining_nodes", node_set(s->draining), "owed", number(s->owed), "owed_entries",
		number(s->owed_entries), "owed_nodes", node_set(s->owed_by), "workload_age_ms",
		number(s->workload_age_ns / 1000000));
}

// The node has been told to drain, or not to: how far it is.
static json_t *drain(const struct report *r, bool draining)
{
	struct node_status s;

	node_set_draining(r->node, draining);
	node_status(r->node, &s);
	json_t *all = phase(&s);
	json_object_update_new(
		all, json_pack("{s:b, s:o, s:o}", "draining", draining, "mastered",
			     number(s.mastered), "connections", number(s.connections)));
	return all;
}

// How this node knows where the switch will send packets, and how often that was right.
static json_t *prediction(const struct node_status *s)
{
	uint64_t checks = s->predict_right + s->predict_wrong;
	char percent[16];

	snprintf(percent, sizeof(percent), "%.2f",
		checks == 0 ? 0 : 100.0 * (double)s->predict_right / (double)checks);
	return json_pack("{s:s, s:o, s:o}", "prediction",
		predict_how_name((enum predict_how)s->predict), "prediction_checks", number(checks),
		"prediction_accuracy_percent",
		checks == 0 ? json_null() : json_real(strtod(percent, NULL)));
}

static json_t *status(const struct report *r)
{
	const struct node_conf *conf = &r->rack->conf;
	struct node_status s;

	node_status(r->node, &s);
	json_t *all = json_pack(
		"{s:s, s:i, s:i, s:b, s:s, s:s, s:o, s:i, s:s, s:i, s:o, s:o, s:o, s:o, "
		"s:o, s:o, s:o, s:o, s:o, s:i, s:s, s:s, s:o, s:s, s:i}",
		"rack", r->rack->name, "id", conf->id, "pid", (int)getpid(), "ready", s.ready,
		"bfd", conf->bfd_enabled ? bfd_state_name(s.bfd) : "off", "bfd_remote",
		conf->bfd_enabled ? bfd_state_name(s.bfd_remote) : "off", "live_nodes",
		node_set(s.live), "configured_nodes", (int)r->rack->n_nodes, "durability",
		tripod_durabilities[conf->durability], "backups", conf->backups, "connections",
		number(s.connections), "connections_max", number(s.connections_max), "embryonic",
		number(s.embryonic), "tombstones", number(s.tombstones), "mastered",
		number(s.mastered), "backup", number(s.backup), "unprotected",
		number(s.unprotected), "memory_bytes", number(s.memory_bytes),
		"bytes_per_connection", number(s.bytes_per_connection), "workers", conf->workers,
		"port", r->port_name, "driver", r->port->driver, "uptime_ms",
		number(s.uptime_ns / 1000000), "version", TRIPOD_VERSION, "boot_half",
		conf->boot_half);
	json_t *copies = json_array();
	for (unsigned k = 0; k <= COPIES_MAX; k++)
		json_array_append_new(copies, number(s.copies[k]));
	json_object_update_new(
		all, json_pack("{s:o, s:i, s:o}", "copies", copies, "survives", (int)s.survives,
			     "sync_waiting", number(s.sync_waiting)));
	json_object_update_new(all, phase(&s));
	json_object_update_new(all, prediction(&s));
	json_object_update_new(all,
		json_pack("{s:o, s:o, s:o}", "index_announced", number(s.index_announced),
			"index_known", number(s.index_known), "index_max", number(s.index_max)));
	// Data: what the port receives into; control: what the core makes frames of.
	json_object_update_new(
		all, json_pack("{s:i, s:i, s:i, s:i}", "buffers_data_free",
			     (int)rte_mempool_avail_count(r->port->data_pool), "buffers_data",
			     (int)r->port->data_pool->size, "buffers_control_free",
			     (int)rte_mempool_avail_count(r->port->control_pool), "buffers_control",
			     (int)r->port->control_pool->size));
	return all;
}

// How much is known here of which connections a member has.
static const char *index_state(const struct member_status *m)
{
	if (m->index_blind)
		return "asked"; // its set is not here
	return m->index_complete ? "complete" : "behind";
}

static json_t *nodes(const struct report *r)
{
	struct member_status m[NODES_MAX];
	unsigned n = node_members(r->node, m, NODES_MAX);
	uint64_t current = chains_current(r->chains)->chain.id;
	json_t *rows = json_array();

	for (unsigned i = 0; i < n; i++) {
		// Nothing is known of a node that has never been heard.
		bool known = m[i].self || m[i].boot != 0;

		json_array_append_new(rows,
			json_pack("{s:i, s:b, s:b, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
				  "s:o, s:s, s:o, s:o}",
				"id", m[i].id, "self", m[i].self, "live", m[i].live, "workers",
				m[i].workers, "boot", known ? hex(m[i].boot) : json_null(),
				"chain_id", known ? hex(m[i].chain) : json_null(), "same_chain",
				known ? json_boolean(m[i].chain == current) : json_null(),
				"last_heard_ms",
				known ? number(m[i].last_heard_ns / 1000000) : json_null(),
				"deaths", number(m[i].deaths), "log_lag_us",
				number(m[i].log_lag_ns / 1000), "lag_p50_us",
				number(m[i].lag_p50_ns / 1000), "lag_p99_us",
				number(m[i].lag_p99_ns / 1000), "queued_records",
				number(m[i].queued), "index", index_state(&m[i]), "index_age_ms",
				number(m[i].index_age_ns / 1000000), "failure_ppm",
				number(m[i].failure_ppm)));
	}
	return json_pack("{s:o}", "nodes", rows);
}

static void add_counter(
	json_t *rows, const char *group, const char *name, uint64_t value, const char *help)
{
	json_array_append_new(rows, json_pack("{s:s, s:s, s:o, s:s}", "group", group, "counter",
					    name, "value", number(value), "help", help));
}

// The sum over all versions of the chain that the NF is part of.
static void sum_nf_counters(const struct report *r, int worker, const struct tripod_nf *nf,
	const struct chain_status *versions, unsigned n, uint64_t *sum)
{
	for (unsigned k = 0; k < n; k++) {
		const struct chain *chain = versions[k].chain;
		uint64_t v[NF_COUNTERS_MAX];

		for (unsigned i = 0; i < chain->n; i++) {
			if (chain->nf[i].nf != nf)
				continue;
			node_nf_counters(r->node, worker, versions[k].slot, i, v);
			for (unsigned j = 0; j < chain->nf[i].n_counters; j++)
				sum[j] += v[j];
		}
	}
}

// Every NF of every version once, those of the current one first. Returns how many there were.
static unsigned add_nf_counters(const struct report *r, const struct request *q, json_t *rows)
{
	const struct tripod_nf *seen[CHAINS_MAX * CHAIN_NFS_MAX];
	struct chain_status versions[CHAINS_MAX];
	unsigned n = node_chains(r->node, versions), n_seen = 0;

	for (unsigned pass = 0; pass < 2 * n; pass++) {
		const struct chain_status *version = &versions[pass < n ? pass : pass - n];
		const struct chain *chain = version->chain;

		bool now = version->current == (pass < n) && chain->as == NULL;

		for (unsigned i = 0; now && i < chain->n; i++) {
			const struct tripod_nf *nf = chain->nf[i].nf;
			uint64_t sum[NF_COUNTERS_MAX] = {0};
			unsigned at = 0;

			while (at < n_seen && seen[at] != nf)
				at++;
			if (at < n_seen || (q->nf[0] != '\0' && strcmp(q->nf, nf->name) != 0))
				continue;
			seen[n_seen++] = nf;
			for (unsigned j = 0; j < chain->nf[i].n_counters; j++)
				sum[j] = chains_counted(r->chains, nf, q->worker, j);
			sum_nf_counters(r, q->worker, nf, versions, n, sum);
			for (unsigned j = 0; j < chain->nf[i].n_counters; j++)
				add_counter(rows, nf->name, nf->counters[j], sum[j], "");
		}
	}
	return n_seen;
}

static void add_worker_counters(const struct report *r, const struct request *q, json_t *rows)
{
	for (unsigned i = 0; i < WORKER_COUNTER_COUNT; i++) {
		uint64_t sum = 0;

		for (unsigned w = 0; w < r->rack->conf.workers; w++)
			if (q->worker < 0 || q->worker == (int)w)
				sum += __atomic_load_n(
					&r->workers[w].counters[i], __ATOMIC_RELAXED);
		add_counter(rows, "worker", worker_counter_names[i], sum, worker_counter_helps[i]);
	}
}

static void add_port_counters(const struct report *r, json_t *rows)
{
	struct rte_eth_stats s;

	if (rte_eth_stats_get(r->port->id, &s) != 0)
		return;
	add_counter(rows, "port", "rx_missed", s.imissed,
		"frames that the NIC dropped because no worker took them in time");
	add_counter(rows, "port", "rx_errors", s.ierrors, "frames that the NIC found faulty");
	add_counter(rows, "port", "rx_no_buffer", s.rx_nombuf,
		"frames dropped for lack of an empty buffer");
	add_counter(rows, "port", "tx_errors", s.oerrors, "frames that the NIC could not send");
}

static json_t *counters(const struct report *r, const struct request *q)
{
	uint64_t v[COUNTERS] = {0};
	json_t *rows = json_array();

	if (q->nf[0] == '\0') {
		node_counters(r->node, q->worker, v);
		for (unsigned i = 0; i < COUNTERS; i++)
			add_counter(
				rows, "core", counter_texts[i].name, v[i], counter_texts[i].help);
	}
	if (add_nf_counters(r, q, rows) == 0 && q->nf[0] != '\0') {
		json_decref(rows);
		return json_pack("{s:o}", "error",
			json_sprintf("no NF \"%s\" in the chain: see tripodctl chain", q->nf));
	}
	if (q->nf[0] == '\0') {
		add_worker_counters(r, q, rows);
		if (q->worker < 0)
			add_port_counters(r, rows);
	}
	return json_pack("{s:o, s:o}", "worker", q->worker < 0 ? json_null() : number(q->worker),
		"counters", rows);
}

static json_t *chain_nfs(const struct chain *chain)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < chain->n; i++)
		json_array_append_new(names, json_string(chain->nf[i].nf->name));
	return names;
}

static json_t *chain_versions(const struct report *r)
{
	struct chain_status all[CHAINS_MAX];
	unsigned n = node_chains(r->node, all);
	json_t *rows = json_array();

	for (unsigned i = 0; i < n; i++) {
		const char *state = all[i].chain->as != NULL                  ? "translated"
				    : all[i].current                          ? "current"
				    : all[i].announced                        ? "announced"
				    : all[i].connections > 0 || all[i].wanted ? "in use"
									      : "unused";

		json_array_append_new(rows,
			json_pack("{s:o, s:s, s:o, s:o, s:o}", "chain_id", hex(all[i].chain->id),
				"state", state, "connections", number(all[i].connections), "nodes",
				node_set(all[i].nodes), "nfs", chain_nfs(all[i].chain)));
	}
	return rows;
}

static json_t *chain(const struct report *r)
{
	const struct chain_version *v = chains_current(r->chains);
	json_t *rows = json_array();

	for (unsigned i = 0; i < v->chain.n; i++) {
		const struct tripod_nf *nf = v->chain.nf[i].nf;

		json_array_append_new(
			rows, json_pack("{s:i, s:s, s:o, s:i, s:i, s:s}", "position", (int)i, "nf",
				      nf->name, "config_id", hex(v->config_id[i]), "layout_version",
				      (int)nf->layout_version, "state_bytes", nf->state_size,
				      "summary", nf->summary != NULL ? nf->summary : ""));
	}
	return json_pack("{s:o, s:i, s:i, s:o, s:o}", "chain_id", hex(v->chain.id), "state_bytes",
		v->chain.state_size, "replicated_bytes", v->chain.wire_size, "nfs", rows,
		"versions", chain_versions(r));
}

// ---- Keys: their ids and use, never their bytes ----

static json_t *keys(const struct report *r)
{
	struct key_status k[AUTH_KEYS_MAX];
	unsigned n = node_keys(r->node, k);
	json_t *rows = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(
			rows, json_pack("{s:i, s:b, s:o, s:o}", "id", k[i].id, "sends", k[i].sends,
				      "tx", number(k[i].tx), "rx", number(k[i].rx)));
	return json_pack("{s:s, s:s?, s:o}", "authentication",
		r->rack->key_file != NULL ? "key" : "none", "key_file", r->rack->key_file, "keys",
		rows);
}

int report_reload_keys(const struct report *r, char *err, size_t size)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct auth_keys loaded;

	if (r->rack->key_file == NULL) {
		snprintf(err, size,
			"authentication is none: give the rack a key_file, and restart the node");
		return -EINVAL;
	}
	int rc = keys_load(r->rack->key_file, &loaded, err, size);
	if (rc != 0)
		return rc;
	bool given = node_set_keys(r->node, &loaded);
	auth_wipe(&loaded, sizeof(loaded));
	for (unsigned ms = 0; given && ms < TAKEN_MS && !node_keys_taken(r->node); ms++)
		nanosleep(&pause, NULL);
	if (given && node_keys_taken(r->node))
		return 0;
	snprintf(err, size, "a worker stands still, and has not taken the %s keys; try again",
		given ? "new" : "last");
	return -EBUSY;
}

static json_t *reload_keys(const struct report *r)
{
	char err[512];

	if (report_reload_keys(r, err, sizeof(err)) != 0)
		return json_pack("{s:s}", "error", err);
	return keys(r);
}

static json_t *version(void)
{
	return json_pack("{s:s, s:s, s:i, s:i}", "version", TRIPOD_VERSION, "dpdk", rte_version(),
		"nf_abi", TRIPOD_NF_ABI, "wire_version", WIRE_VERSION);
}

json_t *report_answer(void *report, const struct request *q)
{
	const struct report *r = report;

	switch (q->verb) {
	case REQUEST_STATUS:
		return status(r);
	case REQUEST_NODES:
		return nodes(r);
	case REQUEST_COUNTERS:
		return counters(r, q);
	case REQUEST_CHAIN:
		return chain(r);
	case REQUEST_RELOAD:
		return reload_chain(r->reload, q->check);
	case REQUEST_KEYS:
		return keys(r);
	case REQUEST_RELOAD_KEYS:
		return reload_keys(r);
	case REQUEST_VERSION:
		return version();
	case REQUEST_DRAIN:
	case REQUEST_UNDRAIN:
		return drain(r, q->verb == REQUEST_DRAIN);
	case REQUEST_CONNECTIONS:
	case REQUEST_STOP:
	case REQUEST_VERBS:
		break;
	}
	return json_pack("{s:s}", "error", "not answered here");
}

// ---- Connections ----

static json_t *field_value(const struct tripod_field *f, const uint8_t *state)
{
	char text[TRIPOD_ADDR_STRLEN];
	struct tripod_addr a;
	uint16_t port;
	uint64_t v = 0;

	switch (f->format) {
	case TRIPOD_FIELD_ADDR:
		memcpy(&a, state + f->offset, sizeof(a));
		return json_string(tripod_addr_format(&a, text, sizeof(text)));
	case TRIPOD_FIELD_PORT:
		memcpy(&port, state + f->offset, sizeof(port));
		return json_integer(ntohs(port));
	case TRIPOD_FIELD_UINT:
		break;
	}
	if (f->size > sizeof(v))
		return json_null();
	memcpy(&v, state + f->offset, f->size); // little-endian hosts only, as DPDK's drivers
	return number(v);
}

// The NFs' states, field by field, as far as the view shows them. c: NULL when the chain has gone since.
static json_t *nf_states(const struct chain *c, const struct conn_view *v)
{
	json_t *all = json_object();
	size_t shown = v->nf_size < sizeof(v->nf_state) ? v->nf_size : sizeof(v->nf_state);

	for (unsigned i = 0; c != NULL && i < c->n; i++) {
		json_t *one = json_object();
		const struct tripod_field *f = c->nf[i].nf->fields;

		for (; f != NULL && f->name != NULL; f++)
			if ((size_t)c->nf[i].state_offset + f->offset + f->size <= shown)
				json_object_set_new(one, f->name,
					field_value(f, v->nf_state + c->nf[i].state_offset));
		json_object_set_new(all, c->nf[i].nf->name, one);
	}
	return all;
}

static json_t *tuple(const struct tripod_tuple *t)
{
	char src[TRIPOD_ADDR_STRLEN], dst[TRIPOD_ADDR_STRLEN];

	return json_pack("{s:s, s:i, s:s, s:i}", "src",
		tripod_addr_format(&t->src, src, sizeof(src)), "sport", ntohs(t->sport), "dst",
		tripod_addr_format(&t->dst, dst, sizeof(dst)), "dport", ntohs(t->dport));
}

json_t *report_connection(void *report, unsigned worker, const struct conn_view *v)
{
	const struct report *r = report;
	json_t *c = tuple(&v->key[0]);

	json_object_update_new(c,
		json_pack(
			"{s:s, s:s, s:s, s:s, s:s, s:o, s:i, s:[i,i], s:[i,i], s:o, s:o, s:o, s:b, "
			"s:b, s:b, s:I, s:I, s:o}",
			"proto", tripod_proto_name(v->key[0].proto), "direction",
			v->key[0].direction == TRIPOD_INCOMING ? "incoming" : "outgoing", "state",
			request_state_name(v), "durability", tripod_durabilities[v->durability],
			"role", request_is_master(v) ? "master" : "backup", "reply",
			tuple(&v->key[1]), "worker", (int)worker, "masters", v->master[0],
			v->master[1], "epochs", v->epoch[0], v->epoch[1], "incarnation",
			hex(v->incarnation), "holders", node_set(v->holders), "acked",
			node_set(v->acked), "answered", (v->flags & CONN_ANSWERED) != 0, "pinned",
			(v->flags & CONN_PINNED) != 0, "waiting", (v->flags & CONN_SYNCING) != 0,
			"idle_ms", (json_int_t)v->idle_ms, "expires_ms", (json_int_t)v->expires_ms,
			"nf", nf_states(node_chain_find(r->node, v->chain), v)));
	return c;
}
