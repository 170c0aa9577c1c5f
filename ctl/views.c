// SPDX-License-Identifier: BSD-3-Clause
#include "ctl/views.h"

static const struct table_column status_record[] = {
	{"rack", "Rack", TABLE_TEXT, NULL, 0},
	{"id", "Node", TABLE_TEXT, NULL, 0},
	{"version", "Version", TABLE_TEXT, NULL, 0},
	{"pid", "Process", TABLE_TEXT, NULL, 0},
	{"uptime_ms", "Up for", TABLE_MS, NULL, 0},
	{"port", "Port", TABLE_TEXT, NULL, 0},
	{"driver", "Driver", TABLE_TEXT, NULL, 0},
	{"workers", "Workers", TABLE_TEXT, NULL, 0},
	{"phase", "Phase", TABLE_TEXT, NULL, 0},
	{"phase_ms", "  for", TABLE_MS, NULL, 0},
	{"ready", "Takes traffic", TABLE_BOOL, NULL, 0},
	{"joining_unserved", "  waits for copies from", TABLE_LIST, NULL, 0},
	{"joining_unknown", "  ... index sets from", TABLE_LIST, NULL, 0},
	{"unreported_nodes", "  and for their NAT ports", TABLE_LIST, NULL, 0},
	{"owed", "  copies under way", TABLE_COUNT, NULL, 0},
	{"owed_entries", "  entries shared", TABLE_COUNT, NULL, 0},
	{"owed_nodes", "  not acknowledged by", TABLE_LIST, NULL, 0},
	{"workload_age_ms", "Last packet", TABLE_MS, NULL, 0},
	{"bfd", "BFD here", TABLE_TEXT, NULL, 0},
	{"bfd_remote", "BFD at the switch", TABLE_TEXT, NULL, 0},
	{"live_nodes", "Live nodes", TABLE_LIST, NULL, 0},
	{"traffic_nodes", "  take traffic", TABLE_LIST, NULL, 0},
	{"draining_nodes", "  drain", TABLE_LIST, NULL, 0},
	{"configured_nodes", "Configured nodes", TABLE_TEXT, NULL, 0},
	{"durability", "Durability", TABLE_TEXT, NULL, 0},
	{"backups", "Backups wanted", TABLE_TEXT, NULL, 0},
	{"connections", "Connections", TABLE_COUNT, NULL, 0},
	{"connections_max", "  at most", TABLE_COUNT, NULL, 0},
	{"mastered", "  mastered here", TABLE_COUNT, NULL, 0},
	{"backup", "  kept for others", TABLE_COUNT, NULL, 0},
	{"unprotected", "  unprotected", TABLE_COUNT, NULL, 0},
	{"copies", "  by copies (0, 1, ...)", TABLE_LIST, NULL, 0},
	{"survives", "Survives more nodes", TABLE_TEXT, NULL, 0},
	{"sync_waiting", "Packets waiting (sync)", TABLE_COUNT, NULL, 0},
	{"prediction", "Prediction of next hops", TABLE_TEXT, NULL, 0},
	{"prediction_checks", "  checked", TABLE_COUNT, NULL, 0},
	{"prediction_accuracy_percent", "  right, percent", TABLE_TEXT, NULL, 0},
	{"embryonic", "  unanswered", TABLE_COUNT, NULL, 0},
	{"tombstones", "  closed", TABLE_COUNT, NULL, 0},
	{"index_announced", "Keys announced", TABLE_COUNT, NULL, 0},
	{"index_known", "  known of others", TABLE_COUNT, NULL, 0},
	{"index_max", "  room for", TABLE_COUNT, NULL, 0},
	{"memory_bytes", "Memory", TABLE_BYTES, NULL, 0},
	{"bytes_per_connection", "  per connection", TABLE_BYTES, NULL, 0},
	{"buffers_data_free", "Buffers free, data", TABLE_COUNT, NULL, 0},
	{"buffers_data", "  of", TABLE_COUNT, NULL, 0},
	{"buffers_control_free", "Buffers free, control", TABLE_COUNT, NULL, 0},
	{"buffers_control", "  of", TABLE_COUNT, NULL, 0},
	{"boot_half", NULL, TABLE_TEXT, NULL, 0},
	{"joining_hearing", NULL, TABLE_BOOL, NULL, 0},
	{"joining_ports", NULL, TABLE_BOOL, NULL, 0},
	{"ports_clear", NULL, TABLE_BOOL, NULL, 0},
	{0},
};
static const struct table_column drain_record[] = {
	{"phase", "Phase", TABLE_TEXT, NULL, 0},
	{"phase_ms", "  for", TABLE_MS, NULL, 0},
	{"owed", "Copies under way", TABLE_COUNT, NULL, 0},
	{"owed_entries", "  entries shared", TABLE_COUNT, NULL, 0},
	{"owed_nodes", "  not acknowledged by", TABLE_LIST, NULL, 0},
	{"mastered", "Mastered here", TABLE_COUNT, NULL, 0},
	{"workload_age_ms", "Last packet", TABLE_MS, NULL, 0},
	{"draining", NULL, TABLE_BOOL, NULL, 0},
	{"connections", NULL, TABLE_COUNT, NULL, 0},
	{"joining_hearing", NULL, TABLE_BOOL, NULL, 0},
	{"joining_unserved", NULL, TABLE_LIST, NULL, 0},
	{"joining_unknown", NULL, TABLE_LIST, NULL, 0},
	{"joining_ports", NULL, TABLE_BOOL, NULL, 0},
	{"ports_clear", NULL, TABLE_BOOL, NULL, 0},
	{"unreported_nodes", NULL, TABLE_LIST, NULL, 0},
	{"traffic_nodes", NULL, TABLE_LIST, NULL, 0},
	{"draining_nodes", NULL, TABLE_LIST, NULL, 0},
	{0},
};
const struct view view_drain = {.record = drain_record};

const struct view view_status = {.record = status_record};

static const struct table_column node_columns[] = {
	{"id", "NODE", TABLE_TEXT, NULL, 0},
	{"self", "SELF", TABLE_BOOL, NULL, 0},
	{"live", "LIVE", TABLE_BOOL, NULL, 0},
	{"workers", "WORKERS", TABLE_TEXT, NULL, 0},
	{"last_heard_ms", "HEARD", TABLE_MS, NULL, 0},
	{"deaths", "DEATHS", TABLE_COUNT, NULL, 0},
	{"log_lag_us", "LOG LAG", TABLE_US, NULL, 0},
	{"lag_p50_us", "P50", TABLE_US, NULL, 0},
	{"lag_p99_us", "P99", TABLE_US, NULL, 0},
	{"queued_records", "QUEUED", TABLE_COUNT, NULL, 0},
	{"index", "INDEX", TABLE_TEXT, NULL, 0},
	{"index_age_ms", "SURE", TABLE_MS, NULL, 0},
	{"chain_id", "CHAIN", TABLE_TEXT, NULL, 0},
	{"same_chain", "SAME", TABLE_BOOL, NULL, 0},
	{"boot", NULL, TABLE_TEXT, NULL, 0},
	{"failure_ppm", NULL, TABLE_COUNT, NULL, 0},
	{0},
};
const struct view view_nodes = {.rows = "nodes", .columns = node_columns};

static const struct table_column connection_columns[] = {
	{"proto", "PROTO", TABLE_TEXT, NULL, 5},
	{"src", "INITIATOR", TABLE_ENDPOINT, "sport", 21},
	{"dst", "TO", TABLE_ENDPOINT, "dport", 21},
	{"reply.src", "ANSWERED BY", TABLE_ENDPOINT, "reply.sport", 21},
	{"reply.dst", "TO", TABLE_ENDPOINT, "reply.dport", 21},
	{"state", "STATE", TABLE_TEXT, NULL, 12},
	{"role", "ROLE", TABLE_TEXT, NULL, 6},
	{"durability", "PROMISE", TABLE_TEXT, NULL, 6},
	{"masters", "MASTERS", TABLE_LIST, NULL, 0},
	{"holders", "HOLDERS", TABLE_LIST, NULL, 0},
	{"idle_ms", "IDLE", TABLE_MS, NULL, 10},
	{"expires_ms", "EXPIRES", TABLE_MS, NULL, 10},
	{"worker", NULL, TABLE_TEXT, NULL, 0},
	{"direction", NULL, TABLE_TEXT, NULL, 0},
	{"acked", NULL, TABLE_LIST, NULL, 0},
	{"epochs", NULL, TABLE_LIST, NULL, 0},
	{"incarnation", NULL, TABLE_TEXT, NULL, 0},
	{"answered", NULL, TABLE_BOOL, NULL, 0},
	{"pinned", NULL, TABLE_BOOL, NULL, 0},
	{"waiting", NULL, TABLE_BOOL, NULL, 0},
	{"nf", NULL, TABLE_TEXT, NULL, 0},
	{0},
};
const struct view view_connections = {.rows = "connections", .columns = connection_columns};

static const struct table_column counter_record[] = {
	{"worker", NULL, TABLE_TEXT, NULL, 0},
	{0},
};
static const struct table_column counter_columns[] = {
	{"group", "GROUP", TABLE_TEXT, NULL, 8},
	{"counter", "COUNTER", TABLE_TEXT, NULL, 24},
	{"value", "VALUE", TABLE_COUNT, NULL, 8},
	{"help", "WHAT IT COUNTS", TABLE_TEXT, NULL, 0},
	{0},
};
const struct view view_counters = {
	.record = counter_record,
	.rows = "counters",
	.columns = counter_columns,
};

static const struct table_column rate_columns[] = {
	{"group", "GROUP", TABLE_TEXT, NULL, 8},
	{"counter", "COUNTER", TABLE_TEXT, NULL, 24},
	{"value", "VALUE", TABLE_COUNT, NULL, 8},
	{"per_second", "RATE", TABLE_RATE, NULL, 10},
	{"help", "WHAT IT COUNTS", TABLE_TEXT, NULL, 0},
	{0},
};
const struct view view_rates = {
	.record = counter_record,
	.rows = "counters",
	.columns = rate_columns,
};

static const struct table_column chain_record[] = {
	{"chain_id", "Chain id", TABLE_TEXT, NULL, 0},
	{"state_bytes", "State per connection", TABLE_BYTES, NULL, 0},
	{"replicated_bytes", "  of it replicated", TABLE_BYTES, NULL, 0},
	{0},
};
static const struct table_column chain_columns[] = {
	{"position", "#", TABLE_TEXT, NULL, 0},
	{"nf", "NF", TABLE_TEXT, NULL, 10},
	{"config_id", "CONFIGURATION", TABLE_TEXT, NULL, 0},
	{"layout_version", "LAYOUT", TABLE_TEXT, NULL, 0},
	{"state_bytes", "STATE", TABLE_BYTES, NULL, 0},
	{"summary", "SUMMARY", TABLE_TEXT, NULL, 0},
	{0},
};
static const struct table_column version_columns[] = {
	{"chain_id", "VERSION", TABLE_TEXT, NULL, 0},
	{"state", "STATE", TABLE_TEXT, NULL, 0},
	{"connections", "CONNECTIONS", TABLE_COUNT, NULL, 0},
	{"nodes", "NODES", TABLE_LIST, NULL, 0},
	{"nfs", "NFS", TABLE_LIST, NULL, 0},
	{0},
};
static const struct view view_versions = {.rows = "versions", .columns = version_columns};
const struct view view_chain = {
	.record = chain_record,
	.rows = "nfs",
	.columns = chain_columns,
	.more = &view_versions,
};

static const struct table_column reload_record[] = {
	{"chain_id", "Chain id", TABLE_TEXT, NULL, 0},
	{"changed", "Changed", TABLE_BOOL, NULL, 0},
	{"state", "State", TABLE_TEXT, NULL, 0},
	{0},
};
const struct view view_reload = {.record = reload_record};

static const struct table_column keys_record[] = {
	{"authentication", "Authentication", TABLE_TEXT, NULL, 0},
	{"key_file", "Key file", TABLE_TEXT, NULL, 0},
	{0},
};
static const struct table_column keys_columns[] = {
	{"id", "KEY", TABLE_TEXT, NULL, 0},
	{"sends", "SENDS", TABLE_BOOL, NULL, 0},
	{"tx", "SENT", TABLE_COUNT, NULL, 8},
	{"rx", "RECEIVED", TABLE_COUNT, NULL, 8},
	{0},
};
const struct view view_keys = {.record = keys_record, .rows = "keys", .columns = keys_columns};

static const struct table_column version_record[] = {
	{"version", "Tripod", TABLE_TEXT, NULL, 0},
	{"dpdk", "DPDK", TABLE_TEXT, NULL, 0},
	{"nf_abi", "NF ABI", TABLE_TEXT, NULL, 0},
	{"wire_version", "Wire format", TABLE_TEXT, NULL, 0},
	{0},
};
const struct view view_version = {.record = version_record};

static const struct table_column stop_record[] = {
	{"stopping", "Stopping", TABLE_BOOL, NULL, 0},
	{0},
};
const struct view view_stop = {.record = stop_record};

json_t *view_json(const struct view *v, const json_t *answer)
{
	json_t *out = v->record != NULL ? table_select(answer, v->record) : json_object();
	const json_t *row;
	json_t *rows;
	size_t i;

	if (v->rows == NULL)
		return out;
	rows = json_array();
	json_array_foreach(json_object_get(answer, v->rows), i, row)
		json_array_append_new(rows, table_select(row, v->columns));
	json_object_set_new(out, v->rows, rows);
	if (v->more != NULL) {
		json_t *more = view_json(v->more, answer);

		json_object_update(out, more);
		json_decref(more);
	}
	return out;
}

void view_table(FILE *f, const struct view *v, const json_t *answer)
{
	struct table t = {.columns = v->columns};
	bool titled = false;

	for (const struct table_column *c = v->record; c != NULL && c->key != NULL; c++)
		titled |= c->title != NULL;
	if (titled)
		table_record(f, answer, v->record);
	if (titled && v->rows != NULL)
		fputc('\n', f);
	if (v->rows != NULL)
		table_rows(f, &t, json_object_get(answer, v->rows));
	if (v->more != NULL) {
		fputc('\n', f);
		view_table(f, v->more, answer);
	}
}
