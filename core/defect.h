// SPDX-License-Identifier: BSD-3-Clause
// Mistakes made on purpose, each in one place, to test the tests: sim/ builds a simulator with each of
// them, and must find it. DEFECT(name) is a constant 0 in everything that is installed.
#pragma once

#ifndef TRIPOD_DEFECT_epoch
#define TRIPOD_DEFECT_epoch 0 // a takeover does not raise the direction's epoch
#endif
#ifndef TRIPOD_DEFECT_tombstone
#define TRIPOD_DEFECT_tombstone 0 // what has ended is forgotten at once
#endif
#ifndef TRIPOD_DEFECT_retransmission
#define TRIPOD_DEFECT_retransmission 0 // records of lost logs are not sent again
#endif
#ifndef TRIPOD_DEFECT_index
#define TRIPOD_DEFECT_index 0 // changes of an index set that are missing are not noticed
#endif
#ifndef TRIPOD_DEFECT_ports
#define TRIPOD_DEFECT_ports 0 // all nodes use the same block of NAT ports
#endif
#ifndef TRIPOD_DEFECT_readiness
#define TRIPOD_DEFECT_readiness 0 // a node that starts takes traffic before it has its copies
#endif

#define DEFECT(name) TRIPOD_DEFECT_##name
