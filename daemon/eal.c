// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/eal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#define AF_PACKET_FRAME_OVERHEAD 128u // bytes of a ring frame that hold no packet, generously
#define AF_PACKET_FRAMES 512

static int fail(char *err, size_t size, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int fail(char *err, size_t size, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(err, size, format, ap);
	va_end(ap);
	return -code;
}

// [domain:]bus:device.function, all hexadecimal.
bool eal_port_is_pci(const char *port)
{
	unsigned domain, bus, device, function;
	int end = -1;
	size_t len = strcspn(port, ",");
	char name[32];

	if (len == 0 || len >= sizeof(name))
		return false;
	memcpy(name, port, len);
	name[len] = '\0';
	if (sscanf(name, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) == 4 &&
		end == (int)len)
		return true;
	end = -1;
	return sscanf(name, "%2x:%2x.%1x%n", &bus, &device, &function, &end) == 3 &&
	       end == (int)len;
}

static bool is_af_packet(const char *port)
{
	static const char *const names[] = {"net_af_packet", "eth_af_packet"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(port, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

// Is key among the device arguments?
static bool has_arg(const char *port, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = strchr(port, ','); p != NULL; p = strchr(p + 1, ','))
		if (strncmp(p + 1, key, len) == 0 && p[1 + len] == '=')
			return true;
	return false;
}

int eal_port_args(const struct eal_conf *conf, char *out, size_t size)
{
	unsigned frame = 2048;
	int n = snprintf(out, size, "%s", conf->port);

	if (n < 0 || (size_t)n >= size)
		return -E2BIG;
	if (!is_af_packet(conf->port))
		return 0;
	if (conf->workers > 1 && !has_arg(conf->port, "qpairs"))
		n += snprintf(out + n, size - n, ",qpairs=%u", conf->workers);
	while (frame < conf->mtu + AF_PACKET_FRAME_OVERHEAD)
		frame *= 2;
	if ((size_t)n < size && frame > 2048 && !has_arg(conf->port, "framesz") &&
		!has_arg(conf->port, "blocksz"))
		n += snprintf(out + n, size - n, ",framesz=%u,blocksz=%u,framecnt=%u", frame,
			frame < 4096 ? 4096 : frame, AF_PACKET_FRAMES);
	return (size_t)n < size ? 0 : -E2BIG;
}

static uint64_t read_number(const char *path)
{
	uint64_t v = 0;
	FILE *f = fopen(path, "re");

	if (f == NULL)
		return 0;
	if (fscanf(f, "%lu", &v) != 1)
		v = 0;
	fclose(f);
	return v;
}

uint64_t eal_hugepages_free_mb(const char *dir)
{
	uint64_t kib = 0;
	DIR *d = opendir(dir);

	if (d == NULL)
		return 0;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		uint64_t page_kib;
		char path[512];

		if (sscanf(e->d_name, "hugepages-%lukB", &page_kib) != 1)
			continue;
		snprintf(path, sizeof(path), "%s/%s/free_hugepages", dir, e->d_name);
		kib += read_number(path) * page_kib;
	}
	closedir(d);
	return kib >> 10;
}

static int arg_add(struct eal_args *a, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int arg_add(struct eal_args *a, const char *format, ...)
{
	va_list ap;
	int n;

	if (a->argc == EAL_ARGS_MAX)
		return -E2BIG;
	va_start(ap, format);
	n = vsnprintf(a->text + a->used, sizeof(a->text) - a->used, format, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(a->text) - a->used)
		return -E2BIG;
	a->argv[a->argc++] = a->text + a->used;
	a->argv[a->argc] = NULL;
	a->used += (size_t)n + 1;
	return 0;
}

// The CPUs that this process may use, as the EAL writes them: "0-3,8".
static int allowed_cpus(char *out, size_t size)
{
	cpu_set_t set;
	size_t used = 0;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return -errno;
	out[0] = '\0';
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		int last = cpu;

		if (!CPU_ISSET(cpu, &set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set))
			last++;
		used += snprintf(out + used, size - used, last > cpu ? "%s%d-%d" : "%s%d",
			used > 0 ? "," : "", cpu, last);
		if (used >= size)
			return -E2BIG;
		cpu = last;
	}
	return used > 0 ? 0 : -ENOENT;
}

static int add_memory(struct eal_args *a, const struct eal_conf *conf, uint64_t free_mb, char *err,
	size_t err_size)
{
	bool huge = conf->hugepages != EAL_HUGEPAGES_NEVER && free_mb >= conf->memory_mb;
	int r = 0;

	if (conf->hugepages == EAL_HUGEPAGES_ALWAYS && !huge)
		return fail(err, err_size, ENOMEM,
			"not enough free hugepages: %lu MiB are free, %u MiB are needed. Reserve "
			"some (echo %u >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages), "
			"or "
			"set hugepages: never",
			free_mb, conf->memory_mb, (conf->memory_mb + 1) / 2 + 16);
	// Either way nothing is left behind after SIGKILL, and no directory need be writable. (DPDK
	// 22.11 takes --no-huge and --in-memory for a contradiction.)
	if (huge) {
		r |= arg_add(a, "--in-memory");
	} else {
		r |= arg_add(a, "--no-huge");
		r |= arg_add(a, "--no-shconf");
		r |= arg_add(a, "-m");
		r |= arg_add(a, "%u", conf->memory_mb);
	}
	return r;
}

static bool wants_telemetry(const struct eal_conf *conf)
{
	for (unsigned i = 0; i < conf->n_extra; i++)
		if (strcmp(conf->extra[i], "--telemetry") == 0)
			return true;
	return false;
}

int eal_args_build(struct eal_args *args, const struct eal_conf *conf, uint64_t free_mb, char *err,
	size_t err_size)
{
	char cpus[512], port[512];
	int r;

	memset(args, 0, sizeof(*args));
	if (conf->port == NULL || conf->port[0] == '\0')
		return fail(err, err_size, EINVAL,
			"no port: set node: port in the configuration or give --port, for example "
			"--port net_af_packet0,iface=eth0 or --port 0000:03:00.0");
	if (eal_port_args(conf, port, sizeof(port)) != 0)
		return fail(err, err_size, E2BIG, "port arguments are too long");
	r = allowed_cpus(cpus, sizeof(cpus));
	if (r != 0)
		return fail(
			err, err_size, -r, "cannot tell which CPUs may be used: %s", strerror(-r));
	r = arg_add(args, "tripodd");
	// One EAL thread, this one, on all CPUs: workers are threads of our own.
	r |= arg_add(args, "--lcores");
	r |= arg_add(args, "0@(%s)", cpus);
	r |= arg_add(args, "--file-prefix");
	r |= arg_add(args, "tripod-%u", conf->node);
	if (!wants_telemetry(conf))
		r |= arg_add(args, "--no-telemetry");
	r |= arg_add(args, "--log-level");
	r |= arg_add(args, conf->verbose ? "*:debug" : "*:warning");
	if (eal_port_is_pci(port)) {
		r |= arg_add(args, "--allow");
		r |= arg_add(args, "%s", port);
	} else {
		r |= arg_add(args, "--no-pci");
		r |= arg_add(args, "--vdev");
		r |= arg_add(args, "%s", port);
	}
	if (r == 0)
		r = add_memory(args, conf, free_mb, err, err_size);
	if (r == -ENOMEM)
		return r;
	for (unsigned i = 0; i < conf->n_extra; i++)
		r |= arg_add(args, "%s", conf->extra[i]);
	if (r != 0)
		return fail(err, err_size, E2BIG, "too many arguments for the EAL");
	return 0;
}

// What the EAL would only say in riddles.
static int check_port(const char *port, char *err, size_t err_size)
{
	const char *p = strstr(port, "iface=");
	char name[IF_NAMESIZE];
	size_t len;

	if (!is_af_packet(port))
		return 0;
	if (p == NULL)
		return fail(err, err_size, EINVAL,
			"port %s names no interface: write net_af_packet0,iface=eth0", port);
	p += strlen("iface=");
	len = strcspn(p, ",");
	if (len == 0 || len >= sizeof(name))
		return fail(err, err_size, EINVAL, "port %s: not an interface name", port);
	memcpy(name, p, len);
	name[len] = '\0';
	if (if_nametoindex(name) == 0)
		return fail(err, err_size, ENODEV,
			"there is no interface %s in this network namespace: ip link shows those "
			"that are",
			name);
	return 0;
}

// The last lines that the EAL has said, on one line.
static void last_words(const char *log, char *out, size_t size)
{
	size_t used = 0;
	const char *start = log + strlen(log);

	for (int lines = 0; start > log && lines < 5; start--)
		if (start[-1] == '\n' && start[0] != '\0' && ++lines == 5)
			break;
	for (; *start != '\0' && used + 3 < size; start++) {
		if (*start != '\n')
			out[used++] = *start;
		else if (start[1] != '\0')
			used += (size_t)snprintf(out + used, size - used, "; ");
	}
	out[used] = '\0';
}

static const char *advice(const struct eal_conf *conf, int error, const char *log)
{
	if (strstr(log, "hugepage") != NULL)
		return "Reserve hugepages or set hugepages: never. ";
	if (eal_port_is_pci(conf->port))
		return "Is the device bound to vfio-pci (dpdk-devbind.py --status), and is this "
		       "user allowed to use it? ";
	if (geteuid() != 0 && is_af_packet(conf->port))
		return "Packet sockets need CAP_NET_RAW: run as root, or setcap cap_net_raw+ep. ";
	if (error == ENOMEM)
		return "Out of memory: lower limits or workers. ";
	return "";
}

static char said[512]; // the EAL's last words while it started; it starts once per process

int eal_start(const struct eal_conf *conf, char *err, size_t err_size)
{
	static struct eal_args args; // the EAL keeps pointers into it
	char *log = NULL;
	size_t log_size = 0;
	FILE *stream = NULL;
	int r;

	r = eal_args_build(
		&args, conf, eal_hugepages_free_mb("/sys/kernel/mm/hugepages"), err, err_size);
	if (r == 0)
		r = check_port(conf->port, err, err_size);
	if (r != 0)
		return r;
	if (!conf->verbose)
		stream = open_memstream(&log, &log_size);
	if (stream != NULL)
		rte_openlog_stream(stream);
	r = rte_eal_init(args.argc, args.argv);
	rte_openlog_stream(stderr);
	if (stream != NULL)
		fclose(stream);
	last_words(log != NULL ? log : "", said, sizeof(said));
	if (r < 0) {
		int error = rte_errno != 0 ? rte_errno : EIO;

		r = fail(err, err_size, error, "DPDK does not start with port %s: %s. %s%s%s",
			conf->port, rte_strerror(error),
			advice(conf, error, log != NULL ? log : ""),
			said[0] != '\0' ? "It said: " : "", said);
	}
	free(log);
	return r < 0 ? r : 0;
}

void eal_excuse(const struct eal_conf *conf, char *out, size_t size)
{
	snprintf(out, size, "%s%s%s", advice(conf, 0, ""), said[0] != '\0' ? "DPDK said: " : "",
		said);
}

void eal_stop(void)
{
	rte_eal_cleanup();
}
