// SPDX-License-Identifier: BSD-3-Clause
// DPDK's af_packet driver has the kernel put fragments of IPv4 together before it spreads them over the queues
// (PACKET_FANOUT_FLAG_DEFRAG), and has no option for that. What came out would be longer than the MTU, and would
// not come from who sent it. So the driver, which is loaded after this program and looks here first, finds a
// setsockopt() that leaves the flag out. The core does not mind which queue a fragment comes to.
#include <linux/if_packet.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	uint32_t fanout;

	if (level == SOL_PACKET && name == PACKET_FANOUT && size == sizeof(fanout)) {
		memcpy(&fanout, value, sizeof(fanout));
		fanout &= ~((uint32_t)PACKET_FANOUT_FLAG_DEFRAG << 16);
		value = &fanout;
	}
	return (int)syscall(SYS_setsockopt, fd, level, name, value, size);
}
