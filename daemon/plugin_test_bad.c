// SPDX-License-Identifier: BSD-3-Clause
// Plug-ins that must not load; CASE chooses what is wrong.
#include <tripod/nf.h>

int plugin_test_undefined(void);

static int load(struct tripod_nf_env *env, const struct tripod_conf *conf, void **instance)
{
	return 0;
}

static enum tripod_verdict on_init(struct tripod_call *c, struct tripod_packet *p)
{
#if CASE == 2
	plugin_test_undefined();
#endif
	return TRIPOD_FORWARD;
}

const struct tripod_nf plugin_test_nf;
const struct tripod_nf plugin_test_nf = {
	.abi = CASE == 1 ? TRIPOD_NF_ABI + 1 : TRIPOD_NF_ABI,
	.name = CASE == 3 ? "lb" : "bad",
	.summary = CASE == 4 ? NULL : "for tests",
	.load = load,
	.on_init = on_init,
};
#if CASE != 0
TRIPOD_NF_PLUGIN(plugin_test_nf);
#endif
