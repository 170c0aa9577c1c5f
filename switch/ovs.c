// SPDX-License-Identifier: BSD-3-Clause
#include "switch/ovs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "switch/diff.h"

#define OPENFLOW "OpenFlow15" // bundles with groups, and bucket ids, are not in less

const char *ovs_refuses(const struct switch_rack *r)
{
	if (r->model == SWITCH_MODULO)
		return "Open vSwitch has no group that takes a hash modulo the number of live "
		       "ports; "
		       "use the model resilient, which is what its select groups do";
	if (r->model == SWITCH_TWO_STAGE && r->failures > 0 && r->predict_vlan != 0)
		return "Open vSwitch's second choice is not modulo the number of live ports, so "
		       "that "
		       "groups of N - k ports would predict nothing; use the model resilient, "
		       "whose "
		       "exclusion groups predict each single failure, or failures: 0";
	if (r->model == SWITCH_TWO_STAGE && r->hash == SWITCH_SYMMETRIC)
		return "Open vSwitch computes one symmetric hash of a packet, so that all flows of "
		       "a "
		       "dead node would be picked for one survivor; use the model resilient";
	return NULL;
}

// ---- A program, from start to end ----

static int temporary(const char *name, const char *text)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	size_t n = text != NULL ? strlen(text) : 0;
	if (fd < 0)
		return -1;
	for (size_t done = 0; done < n;) {
		ssize_t k = write(fd, text + done, n - done);
		if (k < 0) {
			close(fd);
			return -1;
		}
		done += (size_t)k;
	}
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static char *whole(int fd)
{
	off_t n = lseek(fd, 0, SEEK_END);
	char *s = n < 0 ? NULL : malloc((size_t)n + 1);
	if (s == NULL)
		abort();
	ssize_t k = pread(fd, s, (size_t)n, 0);
	s[k < 0 ? 0 : k] = '\0';
	return s;
}

static int wait_for(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Its exit status, or -1. What it has printed is the caller's.
static int run(const char *const argv[], const char *input, char **output, char **errors)
{
	int fd[3] = {temporary("in", input), temporary("out", NULL), temporary("err", NULL)};
	int status = -1;
	*output = *errors = NULL;
	if (fd[0] >= 0 && fd[1] >= 0 && fd[2] >= 0) {
		pid_t pid = fork();
		if (pid == 0) {
			for (int i = 0; i < 3; i++)
				dup2(fd[i], i);
			execvp(argv[0], (char *const *)argv);
			dprintf(2, "%s cannot be run: %s", argv[0], strerror(errno));
			_exit(127);
		}
		if (pid > 0)
			status = wait_for(pid);
		*output = whole(fd[1]);
		*errors = whole(fd[2]);
	}
	for (int i = 0; i < 3; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	return status;
}

// Runs ovs-ofctl; 0, or -1 with its words in err.
static int ofctl(const char *bridge, const char *verb, const char *argument, const char *input,
	char **output, char err[OVS_ERROR_MAX])
{
	const char *argv[] = {"ovs-ofctl", "--timeout=20", "-O", OPENFLOW, "--no-names",
		"--no-stats", verb, bridge, argument, NULL};
	char *errors;
	int status = run(argv, input, output, &errors);
	if (status != 0) {
		const char *hint = errors != NULL && strstr(errors, "version negotiation") != NULL
					   ? "; let it speak " OPENFLOW
					     ": ovs-vsctl set bridge NAME "
					     "protocols=OpenFlow13,OpenFlow15"
					   : "";
		size_t n = errors != NULL ? strlen(errors) : 0;
		for (; n > 0 && errors[n - 1] == '\n';)
			errors[--n] = '\0';
		snprintf(err, OVS_ERROR_MAX, "bridge %s: %s: %s%s", bridge, verb,
			n > 0 ? errors : "ovs-ofctl failed", hint);
		free(*output);
		*output = NULL;
	}
	free(errors);
	return status == 0 ? 0 : -1;
}

int ovs_read(const char *bridge, struct rules *out, char err[OVS_ERROR_MAX])
{
	char *groups = NULL, *flows = NULL;
	*out = (struct rules){};
	if (ofctl(bridge, "dump-groups", NULL, NULL, &groups, err) < 0)
		return -1;
	diff_read_groups(groups, &out->groups);
	free(groups);
	if (ofctl(bridge, "dump-flows", NULL, NULL, &flows, err) < 0)
		return -1;
	diff_read_flows(flows, &out->flows);
	free(flows);
	return 0;
}

int ovs_bundle(const char *bridge, const char *bundle, char err[OVS_ERROR_MAX])
{
	char *output;
	if (bundle[0] == '\0')
		return 0;
	int result = ofctl(bridge, "bundle", "-", bundle, &output, err);
	free(output);
	return result;
}

int ovs_remove(const char *bridge, char err[OVS_ERROR_MAX])
{
	struct rules has;
	char *bundle = NULL;
	size_t size;
	int result = ovs_read(bridge, &has, err);
	if (result == 0) {
		FILE *f = open_memstream(&bundle, &size);
		if (f == NULL)
			abort();
		fputs("flow delete cookie=" RULES_COOKIE "/-1\n", f);
		for (unsigned i = 0; i < has.groups.n; i++) {
			unsigned id = (unsigned)atoi(has.groups.rule[i].key + strlen("group_id="));
			if (id == GROUP_PRIMARY || id == GROUP_SECONDARY ||
				(id >= GROUP_FAILOVER && id < GROUP_FAILOVER + NODES_MAX) ||
				(id >= GROUP_PREDICT && id <= GROUP_PREDICT + PREDICT_ARRIVAL))
				fprintf(f, "group delete group_id=%u\n", id);
		}
		if (fclose(f) != 0)
			abort();
		result = ovs_bundle(bridge, bundle, err);
		free(bundle);
	}
	rules_free(&has);
	return result;
}
