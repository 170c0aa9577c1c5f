// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// tripod-bench place: parses its own options; returns an exit status.
int place_bench(int argc, char **argv);
