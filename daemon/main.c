// SPDX-License-Identifier: BSD-3-Clause
// tripodd: one node of a rack.
//
// Start is a ladder (configuration, control socket, EAL, port, identity, node, workers), and whatever
// fails on it, everything below is taken down again in reverse order. This start is counted
// (daemon/boot.h) only when nearly everything stands: a failed one has handed nothing out.
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "config/help.h"
#include "config/keys.h"
#include "config/rack.h"
#include "core/fragment.h"
#include "daemon/boot.h"
#include "daemon/chains.h"
#include "daemon/control.h"
#include "daemon/eal.h"
#include "daemon/options.h"
#include "daemon/phase.h"
#include "daemon/plugin.h"
#include "daemon/port.h"
#include "daemon/reload.h"
#include "daemon/report.h"
#include "daemon/worker.h"

#define HANDOVER_MS 250 // the switch sends nothing new; peers fetch what they miss
#define SERVE_MS 20 // between looks at the chains
#define STOP_POLL_MS 20 // of a drain that precedes the end

struct tripodd {
	struct options options;
	struct rack rack;
	struct chains chains;
	struct chain_version *first; // of the chain; the node's once that runs
	struct reload reload;
	int signals; // signalfd
	struct port port;
	void *node_memory;
	size_t node_memory_size;
	struct node *node;
	struct worker *workers;
	struct report report;
	struct control *control;
	struct phase_watch watch;
	struct boot boot;
	time_t touched_s; // when the half was last noted as in use
};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	fprintf(stderr, "tripodd: %s\n", line);
}

// Tells the service manager, if there is one (sd_notify(3)).
static void notify(const char *state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	socklen_t len;
	int fd;

	if (path == NULL || path[0] == '\0' || strlen(path) >= sizeof(addr.sun_path))
		return;
	strcpy(addr.sun_path, path);
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (addr.sun_path[0] == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr, len);
	close(fd);
}

// ---- Start, step by step. Each returns 0 or a negative errno, and has said what is wrong. ----

static int load_plugin(const char *path)
{
	char why[512];
	int rc = plugin_load(path, why, sizeof(why));

	if (rc != 0)
		say("%s", why);
	return rc;
}

// Those of the command line and of the file. Before the configuration is checked, since its chain is
// checked against the tables of the NFs that it names; what else is wrong with it comes up then.
static int load_plugins(const struct options *o)
{
	struct conf_doc *doc = conf_load(o->config);
	const struct tripod_conf *list = tripod_conf_get(conf_root(doc), "plugins");
	int rc = 0;

	for (unsigned i = 0; i < o->n_plugins && rc == 0; i++)
		rc = load_plugin(o->plugin[i]);
	for (unsigned i = 0; i < tripod_conf_count(list) && rc == 0; i++) {
		const char *path = tripod_conf_text(tripod_conf_at(list, i));

		if (path != NULL)
			rc = load_plugin(path);
	}
	conf_free(doc);
	return rc;
}

static int load_config(struct tripodd *t)
{
	struct options *o = &t->options;
	struct rack *r = &t->rack;

	if (rack_load(o->config, o->node, r) < 0) {
		fputs(rack_report(r), stderr);
		return -EINVAL;
	}
	if (o->port != NULL)
		r->port = o->port;
	if (o->socket != NULL)
		r->control_socket = o->socket;
	if (o->state_dir != NULL)
		r->state_dir = o->state_dir;
	if (o->key_file != NULL && r->key_file != NULL)
		r->key_file = o->key_file;
	if (o->workers != 0)
		r->conf.workers = (uint8_t)o->workers;
	if (o->has_mac) {
		memcpy(r->conf.self.mac, o->mac, sizeof(o->mac));
		memcpy(r->conf.bfd.mac, o->mac, sizeof(o->mac));
	}
	return 0;
}

// Of this start; keys reload reads them again.
static int load_keys(struct tripodd *t)
{
	struct rack *r = &t->rack;
	char err[512];
	int rc;

	if (r->key_file == NULL) {
		say("warning: rack: authentication is none: whoever can send into VLAN %u can "
		    "write "
		    "and end any connection. Give the nodes a key_file",
			r->conf.fabric_vlan);
		return 0;
	}
	rc = keys_load(r->key_file, &r->conf.keys, err, sizeof(err));
	if (rc == -ENOENT && t->options.check) {
		// The configuration may be checked where no node runs.
		say("warning: %s", err);
		return 0;
	}
	if (rc != 0)
		say("%s", err);
	return rc;
}

static void *map_memory(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return mem != MAP_FAILED ? mem : NULL;
}

static int load_chain(struct tripodd *t)
{
	char why[512] = "no memory";

	chains_free(t->first);
	t->first = NULL;
	if (chains_init(&t->chains, &t->rack, say) == 0)
		t->first = chains_load(
			&t->chains, t->rack.chain, t->rack.chain_text, why, sizeof(why));
	if (t->first != NULL) {
		t->rack.conf.chain = &t->first->chain;
		return 0;
	}
	fputs(rack_report(&t->rack), stderr);
	if (why[0] != '\0')
		say("%s", why);
	return -EINVAL;
}

// How long a connection may outlive the node that has opened it, without a packet: copies are kept for
// twice its time-out.
static uint64_t port_life_s(const struct node_conf *c)
{
	uint32_t longest = c->tcp.established_ms;

	longest = c->tcp.closing_ms > longest ? c->tcp.closing_ms : longest;
	longest = c->udp_ms > longest ? c->udp_ms : longest;
	longest = c->icmp_ms > longest ? c->icmp_ms : longest;
	return 2ull * longest / 1000 + 1;
}

// Who this start is: random numbers, the half of its boot, and the chain that takes the half.
static int take_identity(struct tripodd *t)
{
	struct node_conf *conf = &t->rack.conf;
	uint64_t chance[3];
	char problem[512];

	if (getrandom(chance, sizeof(chance), 0) != sizeof(chance)) {
		say("no random numbers: %s", strerror(errno));
		return -EIO;
	}
	conf->boot = chance[0] != 0 ? chance[0] : 1; // 0 is "not known"
	conf->seed = chance[1];
	boot_begin(&t->boot, t->rack.state_dir, conf->id, chance[2], (uint64_t)time(NULL),
		port_life_s(conf), problem, sizeof(problem));
	conf->boot_half = (uint8_t)t->boot.half;
	conf->half_clear_ms = t->boot.clear_ms;
	if (problem[0] != '\0')
		say("warning: %s; half %u is from chance. NAT ports wait until every node has told "
		    "which are in use. Make it writable, or set node: state_dir",
			problem, conf->boot_half);
	return load_chain(t);
}

static int check_only(const struct tripodd *t)
{
	const struct chain *chain = &t->first->chain;

	printf("%s: good: rack %s, %u nodes, chain", t->options.config, t->rack.name,
		t->rack.n_nodes);
	for (unsigned i = 0; i < chain->n; i++)
		printf("%s %s", i > 0 ? " >" : "", chain->nf[i].nf->name);
	printf(", chain_id %016lx\n", chain->id);
	return 0;
}

static int block_signals(struct tripodd *t)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	t->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (t->signals >= 0)
		return 0;
	say("no signalfd: %s", strerror(errno));
	return -errno;
}

static void port_conf_fill(const struct tripodd *t, struct port_conf *pc)
{
	const struct node_conf *conf = &t->rack.conf;

	*pc = (struct port_conf){
		.port = t->rack.port,
		.workers = conf->workers,
		.mtu = conf->side[0].mtu > conf->side[1].mtu ? conf->side[0].mtu
							     : conf->side[1].mtu,
		.held = conf->waiting + conf->sync_packets + FRAGMENT_WAITS,
	};
	if (pc->mtu < 1500)
		pc->mtu = 1500; // control messages
	memcpy(pc->mac[0], conf->self.mac, 6);
	memcpy(pc->mac[1], conf->side[0].gateway_mac, 6);
	memcpy(pc->mac[2], conf->side[1].gateway_mac, 6);
}

static struct eal_conf eal_conf(const struct tripodd *t, const struct port_conf *pc)
{
	const struct rack *r = &t->rack;

	return (struct eal_conf){
		.port = r->port,
		.node = r->conf.id,
		.workers = r->conf.workers,
		.mtu = pc->mtu,
		.hugepages = r->hugepages == RACK_HUGEPAGES_NEVER     ? EAL_HUGEPAGES_NEVER
			     : r->hugepages == RACK_HUGEPAGES_REQUIRE ? EAL_HUGEPAGES_ALWAYS
								      : EAL_HUGEPAGES_AUTO,
		.memory_mb = port_memory_mb(pc),
		.n_extra = r->n_eal,
		.extra = (const char *const *)r->eal,
		.verbose = t->options.verbose,
	};
}

static int start_eal(const struct tripodd *t)
{
	struct port_conf pc;
	struct eal_conf ec;
	char err[1024];
	int rc;

	port_conf_fill(t, &pc);
	ec = eal_conf(t, &pc);
	rc = eal_start(&ec, err, sizeof(err));
	if (rc != 0)
		say("%s", err);
	return rc;
}

static int start_port(struct tripodd *t)
{
	char err[512], name[IF_NAMESIZE];
	struct port_conf pc;
	unsigned mtu;
	int rc;

	port_conf_fill(t, &pc);
	rc = port_open(&t->port, &pc, err, sizeof(err));
	if (rc != 0) {
		struct eal_conf ec = eal_conf(t, &pc);
		char excuse[768] = "";

		if (rc == -ENODEV)
			eal_excuse(&ec, excuse, sizeof(excuse));
		say("%s. %s", err, excuse);
		return rc;
	}
	if (t->port.tx_shared)
		say("warning: %s has %u transmit queues for %u workers, which share them",
			t->port.driver, t->port.n_txq, t->port.workers);
	mtu = port_kernel_mtu(&t->port, name);
	if (mtu != 0 && mtu < pc.mtu)
		say("warning: interface %s has MTU %u, less than the %u of the configuration: "
		    "ip link set %s mtu %u",
			name, mtu, pc.mtu, name, pc.mtu);
	return 0;
}

// Neither to the disk as swap nor as a core dump. Both are a matter of luck: limits may forbid it.
static void hide(void *at, size_t size)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = (uintptr_t)at & ~(page - 1);
	size_t len = (((uintptr_t)at + size + page - 1) & ~(page - 1)) - first;

	if (mlock((void *)first, len) != 0 || madvise((void *)first, len, MADV_DONTDUMP) != 0)
		return;
}

static int start_node(struct tripodd *t)
{
	size_t size = node_size(&t->rack.conf);

	t->node_memory = map_memory(size);
	if (t->node_memory != NULL) {
		t->node_memory_size = size;
		madvise(t->node_memory, size, MADV_HUGEPAGE);
		// Now rather than at some packet; older kernels cannot.
		if (madvise(t->node_memory, size, MADV_POPULATE_WRITE) == 0 || errno == EINVAL)
			t->node = node_init(t->node_memory, size, &t->rack.conf, worker_now_ns());
	}
	auth_wipe(&t->rack.conf.keys, sizeof(t->rack.conf.keys));
	if (t->node != NULL) {
		node_secrets(t->node, hide);
		return 0;
	}
	say("no memory for the node: %zu MiB are needed. Lower limits: connections, or --workers",
		size >> 20);
	return -ENOMEM;
}

static void stop_workers(struct tripodd *t)
{
	for (unsigned i = 0; t->workers != NULL && i < t->rack.conf.workers; i++)
		worker_stop(&t->workers[i]);
	free(t->workers);
	t->workers = NULL;
}

static int start_workers(struct tripodd *t)
{
	struct worker_conf wc = {
		.idle_sleep = t->rack.idle_sleep,
		.idle_max_us = t->rack.idle_max_us,
	};
	unsigned n = t->rack.conf.workers;
	int rc = 0;

	t->workers = aligned_alloc(64, n * sizeof(*t->workers));
	if (t->workers == NULL)
		return -ENOMEM;
	memset(t->workers, 0, n * sizeof(*t->workers));
	for (unsigned i = 0; i < n && rc == 0; i++) {
		wc.cpu = i < t->options.n_cpus ? t->options.cpu[i] : -1;
		rc = worker_start(&t->workers[i], i, &t->port, node_shard(t->node, i), &wc);
		if (rc != 0)
			say("worker %u does not start: %s%s", i, strerror(-rc),
				wc.cpu >= 0
					? ". Is the CPU in --cpus one that this process may use?"
					: "");
	}
	if (rc != 0)
		stop_workers(t);
	return rc;
}

static bool query(void *ctx, unsigned worker, struct conn_query *q)
{
	const struct report *r = ctx;

	return node_query(r->node, worker, q);
}

static int start_control(struct tripodd *t)
{
	struct control_ops ops = {
		.ctx = &t->report,
		.workers = t->rack.conf.workers,
		.answer = report_answer,
		.query = query,
		.connection = report_connection,
	};
	char err[512];

	t->control = control_open(t->rack.control_socket, &ops, err, sizeof(err));
	if (t->control != NULL)
		return 0;
	say("%s", err);
	return -EIO;
}

// ---- Running ----

static void sleep_ms(uint64_t ms)
{
	struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

// A line of the log when the node has come further on its way.
static struct node_status look(struct tripodd *t)
{
	struct node_status s;
	char line[512];

	node_status(t->node, &s);
	if (time(NULL) - t->touched_s >= BOOT_TOUCH_S) {
		t->touched_s = time(NULL);
		boot_touch(&t->boot, t->rack.state_dir, t->rack.conf.id, (uint64_t)t->touched_s);
	}
	if (phase_news(&t->watch, &s, line, sizeof(line)))
		say("node %u %s", t->rack.conf.id, line);
	return s;
}

// A signal has come: SIGHUP is no end.
static bool is_end(struct tripodd *t)
{
	struct signalfd_siginfo signal;
	char err[512];

	if (read(t->signals, &signal, sizeof(signal)) != sizeof(signal))
		return false;
	if (signal.ssi_signo != SIGHUP)
		return true;
	if (report_reload_keys(&t->report, err, sizeof(err)) == 0)
		say("the keys have been read again");
	else
		say("%s; the keys in use stay", err);
	reload_logged(&t->reload);
	return false;
}

// Gives everything away before the end, for as long as that may take; a second signal ends it.
static void drain(struct tripodd *t)
{
	struct node_status s;
	uint64_t end_ns = worker_now_ns() + t->rack.drain_on_stop_ms * 1000000ull;
	struct signalfd_siginfo info;

	while (read(t->signals, &info, sizeof(info)) > 0)
		;
	node_set_draining(t->node, true);
	sleep_ms(STOP_POLL_MS);
	do {
		if (control_serve(t->control, t->signals, STOP_POLL_MS) && is_end(t)) {
			say("node %u stops draining: told again to end", t->rack.conf.id);
			return;
		}
		chains_tick(&t->chains, worker_now_ns());
		s = look(t);
	} while (!phase_may_stop(&s) && worker_now_ns() < end_ns);
	if (s.phase != NODE_DRAINED)
		say("node %u ends in phase %s", t->rack.conf.id, node_phase_name(s.phase));
}

// The switch and the peers hear of the end from this node rather than by silence. The switch first:
// while it moves the flows, this node still forwards, and answers whoever asks for a connection.
static void leave(struct tripodd *t)
{
	if (t->rack.drain_on_stop_ms > 0)
		drain(t);
	if (look(t).phase != NODE_DRAINED) {
		node_set_ready(t->node, false);
		sleep_ms(HANDOVER_MS);
	}
	node_set_leaving(t->node);
	boot_touch(&t->boot, t->rack.state_dir, t->rack.conf.id, (uint64_t)time(NULL));
	sleep_ms(t->rack.conf.heartbeat_ms + 10);
	say("node %u leaves", t->rack.conf.id);
}

static void serve(struct tripodd *t)
{
	t->chains.node = t->node;
	t->reload = (struct reload){
		.path = t->options.config,
		.node = t->options.node,
		.rack = &t->rack,
		.chains = &t->chains,
	};
	t->report = (struct report){
		.rack = &t->rack,
		.chains = &t->chains,
		.reload = &t->reload,
		.node = t->node,
		.port = &t->port,
		.workers = t->workers,
		.port_name = t->rack.port,
	};
	node_set_ready(t->node, true);
	say("node %u of rack %s runs: %u workers on %s (%s), control socket %s", t->rack.conf.id,
		t->rack.name, t->rack.conf.workers, t->rack.port, t->port.driver,
		t->rack.control_socket);
	notify("READY=1");
	while (!control_stop_requested(t->control)) {
		look(t);
		if (control_serve(t->control, t->signals, SERVE_MS) && is_end(t))
			break;
		chains_tick(&t->chains, worker_now_ns());
	}
	notify("STOPPING=1");
	leave(t);
}

static int run(struct tripodd *t)
{
	int rc;

	if (t->rack.port == NULL) {
		say("no port: give --port, or set node: port in %s; for example "
		    "--port net_af_packet0,iface=eth0",
			t->options.config);
		return -EINVAL;
	}
	rc = block_signals(t);
	if (rc != 0)
		return rc;
	rc = start_control(t);
	if (rc != 0)
		goto err_signals;
	rc = start_eal(t);
	if (rc != 0)
		goto err_control;
	rc = start_port(t);
	if (rc != 0)
		goto err_eal;
	rc = take_identity(t);
	if (rc != 0)
		goto err_port;
	rc = start_node(t);
	if (rc != 0)
		goto err_node;
	rc = start_workers(t);
	if (rc != 0)
		goto err_node;
	serve(t);
	stop_workers(t);
	chains_end(&t->chains);
	t->first = NULL;

err_node:
	if (t->node_memory != NULL)
		munmap(t->node_memory, t->node_memory_size);
err_port:
	port_close(&t->port);
err_eal:
	eal_stop();
err_control:
	control_close(t->control);
err_signals:
	close(t->signals);
	return rc;
}

int main(int argc, char **argv)
{
	static struct tripodd t;
	int rc;

	if (sodium_init() < 0) {
		say("libsodium does not start");
		return 1;
	}
	options_parse(argc, argv, &t.options);
	rc = load_plugins(&t.options);
	if (rc == 0)
		rc = load_config(&t);
	if (rc == 0)
		rc = load_chain(&t);
	if (rc == 0)
		rc = load_keys(&t);
	if (rc == 0)
		rc = t.options.check ? check_only(&t) : run(&t);
	chains_free(t.first);
	rack_free(&t.rack);
	return rc == 0 ? 0 : 1;
}
