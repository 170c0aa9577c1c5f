// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// tripod-bench repair: parses its own options; returns an exit status.
int repair_bench(int argc, char **argv);
