// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// tripod-bench index: parses its own options; returns an exit status.
int index_bench(int argc, char **argv);
