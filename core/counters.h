// SPDX-License-Identifier: BSD-3-Clause
// Every counter of a worker, in one list: the name that operators see, and what it counts.
//
// Written by the worker alone; read by the control thread at any time (64-bit loads are whole).
#pragma once

#include <stdint.h>

// X(name, help). Names that start with drop_ are packets that were not forwarded, by reason; their
// sum is every packet lost inside the node.
#define TRIPOD_COUNTERS(X)                                                                         \
	X(rx_packets, "frames received")                                                           \
	X(rx_bytes, "bytes received, without the frame check sequence")                            \
	X(tx_packets, "frames handed to the port")                                                 \
	X(tx_bytes, "bytes handed to the port")                                                    \
	X(workload_packets, "packets of outside and inside forwarded")                             \
	X(workload_bytes, "bytes of outside and inside forwarded")                                 \
	X(control_rx_packets, "control frames received (replication, heartbeats, BFD, ARP, ND)")   \
	X(control_rx_bytes, "bytes of control frames received")                                    \
	X(control_tx_packets, "control frames sent")                                               \
	X(control_tx_bytes, "bytes of control frames sent")                                        \
	X(drop_truncated, "frame shorter than its headers or lengths say")                         \
	X(drop_oversize, "frame longer than the MTU of its side")                                  \
	X(drop_vlan_unknown, "VLAN that is none of this rack's")                                   \
	X(drop_vlan_stacked, "more than one VLAN tag")                                             \
	X(drop_ethertype, "neither ARP, IPv4 nor IPv6")                                            \
	X(drop_not_for_us, "destination MAC is neither this node's nor the gateway's")             \
	X(drop_ip_version, "IP version does not match the EtherType")                              \
	X(drop_ip_header, "bad IP header length, total length or reserved field")                  \
	X(drop_ip_checksum, "IPv4 header checksum wrong")                                          \
	X(drop_ip_address, "source or destination address that cannot be forwarded (martian)")     \
	X(drop_ip_options, "IPv4 options or IPv6 extension headers that are not forwarded")        \
	X(drop_fragment, "IP fragment that is malformed, or whose first one did not come in time") \
	X(drop_fragment_tcp, "IP fragment of TCP")                                                 \
	X(drop_ttl, "TTL or hop limit ran out")                                                    \
	X(drop_protocol, "IP protocol that no connection is kept for")                             \
	X(drop_l4_header, "bad TCP, UDP or ICMP header")                                           \
	X(drop_l4_checksum, "TCP SYN, FIN or RST, or ICMP, with a wrong checksum")                 \
	X(drop_icmp_type, "ICMP that is neither echo nor an error for a connection")               \
	X(drop_icmp_unknown, "ICMP error for a connection that nobody here knows")                 \
	X(drop_tcp_flags, "TCP flags that no stack sends together")                                \
	X(drop_tcp_window, "TCP segment outside the windows of its connection")                    \
	X(drop_tcp_closed, "TCP segment after the connection's end")                               \
	X(drop_unknown, "no connection, and the packet cannot open one")                           \
	X(drop_refused, "an NF refused the connection")                                            \
	X(drop_nf, "an NF dropped the packet")                                                     \
	X(drop_table_full, "no free connection record")                                            \
	X(drop_embryonic_full, "too many unanswered connections")                                  \
	X(drop_tuple_clash, "reversed tuple belongs to another connection already")                \
	X(drop_index_full, "no free slot in the index")                                            \
	X(drop_wait_full, "too many packets wait for an answer from the peers")                    \
	X(drop_wait_timeout, "no peer answered in time")                                           \
	X(drop_hold_full, "too many packets held by NFs")                                          \
	X(drop_sync_full, "too many packets wait for acknowledgements of their state")             \
	X(drop_sync_timeout, "the backups did not acknowledge the packet's state in time")         \
	X(drop_sync_lost, "waited for acknowledgements when its connection moved or ended")        \
	X(drop_unprotected, "new connection refused: fewer members alive than backups wanted")     \
	X(drop_neighbour_full, "no free neighbour entry, or too many packets wait for one")        \
	X(drop_neighbour_timeout, "next hop does not answer ARP or ND")                            \
	X(drop_no_route, "no route to the destination")                                            \
	X(drop_ring_full, "another worker's ring was full")                                        \
	X(drop_tx_full, "more frames than one step may send")                                      \
	X(drop_no_buffer, "no empty frame for a packet of the gateway's own")                      \
	X(drop_relay_limit, "more packets to relay than allowed")                                  \
	X(drop_relay_loop, "relayed packet that would have to be relayed again")                   \
	X(drop_stale, "openings, and packets that others may handle, that lay in a queue that "    \
		      "stood still")                                                               \
	X(drop_deaf, "this node was away and hears no member yet that could tell of it")           \
	X(drop_invariant, "a connection's record broke an invariant and was ended")                \
	X(drop_control_bad, "control message malformed, of another rack or version")               \
	X(drop_control_forged, "control message whose tag is wrong")                               \
	X(drop_control_key, "control message sealed with a key that this node does not have")      \
	X(drop_control_replayed, "control message that has come before, or far too late")          \
	X(drop_control_stale, "control message of a boot not believed, to a former one, or from "  \
			      "a queue that stood still")                                          \
	X(connections_opened, "connections allocated by a packet")                                 \
	X(opened_apart, "of them, those whose answers come to another worker of this node")        \
	X(connections_closed_tcp, "connections ended by FINs or RST")                              \
	X(connections_closed_timeout, "connections ended by time-out")                             \
	X(connections_evicted, "unanswered connections that made room for newer ones")             \
	X(ended_evicted, "connections that had ended and made room in a full table")               \
	X(connections_closed_terminated, "connections ended by an NF or the operator")             \
	X(takeovers, "directions of connections taken over from another node")                     \
	X(handovers, "directions of connections that another node took over")                      \
	X(greetings, "greetings sent: proofs of being alive, and that a peer has been served")     \
	X(epoch_conflicts,                                                                         \
		"two nodes claimed one direction in one epoch, or one had another life of "        \
		"a connection that goes on here; the higher claim won")                            \
	X(relay_tx, "packets relayed to their master")                                             \
	X(relay_rx, "packets relayed to this node")                                                \
	X(pulls_sent, "tuples asked of the peers (PullReplica)")                                   \
	X(pulls_targeted, "of them, asked of those that may have them, by the index sets")         \
	X(pulls_broadcast, "of them, asked of all")                                                \
	X(pulls_answered, "tuples that a peer had")                                                \
	X(pulls_failed, "tuples that no peer had")                                                 \
	X(pulls_limited, "pulls not sent: too many under way")                                     \
	X(pulls_served, "replicas sent to peers that asked")                                       \
	X(pulls_refused, "tuples that a peer asked for beyond its rate")                           \
	X(unknown_rounds, "packets of unknown tuples that waited for a round of index sets")       \
	X(index_adds, "fingerprints put into this node's index set")                               \
	X(index_removes, "fingerprints taken out of it")                                           \
	X(index_full, "keys that found this node's set, or the table of all sets, full")           \
	X(index_tx_bytes, "bytes of index messages sent")                                          \
	X(index_rx_bytes, "bytes of index messages received")                                      \
	X(index_rx_changes, "changes of peers' index sets received")                               \
	X(index_gaps, "times that changes of a peer's set were missing")                           \
	X(index_snapshots, "peers' index sets fetched as a whole")                                 \
	X(index_asks, "rounds in which the peers were asked for all that they have")               \
	X(index_ask_timeouts, "rounds that a peer did not answer in time")                         \
	X(index_answers, "answers to peers' rounds")                                               \
	X(placements, "batches of connections for which nodes for copies were chosen")             \
	X(placed, "connections in these batches")                                                  \
	X(predictions_right, "packets that arrived where they had been predicted to")              \
	X(predictions_wrong, "packets that arrived elsewhere")                                     \
	X(predict_fallbacks,                                                                       \
		"times that predictions became too often wrong, or right again, and another way "  \
		"of predicting took over")                                                         \
	X(predict_moved, "connections given copies where the switch said that they would go")      \
	X(predict_limited, "predictions not asked for: too many under way, or beyond the rate")    \
	X(predict_unanswered, "questions to the switch that no node has answered")                 \
	X(predicates_tx, "questions to the switch's prediction groups sent")                       \
	X(predicates_rx, "questions of peers that the switch has sent here")                       \
	X(predicates_refused, "of them, not answered: beyond a peer's rate, or no buffer")         \
	X(confirms_rx, "answers to this node's questions")                                         \
	X(confirms_stale, "answers that came late, twice, or from before the ports changed")       \
	X(log_records_tx, "records sent to backups")                                               \
	X(log_records_rx, "records received from masters")                                         \
	X(log_records_stale, "records received that were older than what is here")                 \
	X(log_records_refused,                                                                     \
		"records received that could not be kept (table full, chain unknown)")             \
	X(log_messages_tx, "log messages sent")                                                    \
	X(log_messages_lost,                                                                       \
		"log messages not acknowledged in time; their records are sent again")             \
	X(holders_full, "copies of one connection beyond the 16 that are kept up to date")         \
	X(log_queue_full, "records that found a peer's queue full; repaired later")                \
	X(sync_waits, "packets that waited for acknowledgements of their state")                   \
	X(sync_timeouts, "of them, those that waited for as long as they may")                     \
	X(tombstones, "records of closed connections received for connections known here")         \
	X(tombstones_untold, "closed connections forgotten before all live members had heard")     \
	X(tombstone_hits, "packets and records that met a connection which had ended")             \
	X(copies_forsaken,                                                                         \
		"copies given up after an absence, since nobody else had the connection any more") \
	X(chains_fetched, "chains that were fetched from a peer")                                  \
	X(chains_refused, "fetched chains that this node cannot run, or has no room for")          \
	X(chains_failed, "chains that are wanted and that no peer gave")                           \
	X(chains_limited, "chains wanted, or pieces of them, beyond what is fetched or sent")      \
	X(repairs, "connections given another copy after a member was lost")                       \
	X(ports_unclear,                                                                           \
		"NAT ports refused: one of this node's former life may still be in use elsewhere") \
	X(join_timeouts, "starts that took traffic before all members had sent their copies")      \
	X(nf_write_refused, "state writes by an NF on a node that may not write")                  \
	X(requests_tx,                                                                             \
		"changes of a connection's state asked of the node that writes it, repetitions "   \
		"included")                                                                        \
	X(requests_applied, "changes that another node has asked for, applied here")               \
	X(requests_ended, "changes asked for whose connection ended first")                        \
	X(request_busy, "requests of NFs refused: one of that connection is under way")            \
	X(request_full, "requests of NFs refused: too many are under way")                         \
	X(request_misdirected,                                                                     \
		"requests received for what is not written, or not known, here; they come again")  \
	X(copies_forgotten, "copies given up, as the node that writes them asked for")             \
	X(copies_compared,                                                                         \
		"connections of which copies may differ, or be where nobody knows: asked for")     \
	X(kind_asks_tx, "questions for units of NFs' kinds of state, repetitions included")        \
	X(kind_applied, "of them, applied here to an entry")                                       \
	X(kind_copies_tx, "copies of entries sent to backups, repetitions included")               \
	X(kind_takeovers, "entries taken over from another node")                                  \
	X(kind_misdirected,                                                                        \
		"questions received for entries that this node does not write; they come again")   \
	X(kind_refused, "connections for which there was no unit")                                 \
	X(kind_limited, "connections not asked for: too many questions a second")                  \
	X(kind_timeouts, "connections whose question was not answered in time")                    \
	X(kind_unprotected, "answers given although a backup has not acknowledged the entry")      \
	X(kind_full, "keys of kinds, or workers that share one, beyond what there is room for")    \
	X(timer_full, "NF timers refused: all in use")                                             \
	X(handoffs, "packets handed to another worker of this node")                               \
	X(fragments_first, "first fragments of datagrams forwarded")                               \
	X(fragments_later, "later fragments forwarded with the addresses of the first")            \
	X(fragments_untold,                                                                        \
		"first fragments of which the node that later ones are relayed to was not told: "  \
		"too many a second, or no room")                                                   \
	X(icmp_errors_tx, "ICMP errors sent by the gateway")                                       \
	X(bfd_rx, "BFD packets received")                                                          \
	X(bfd_bad, "BFD packets discarded")                                                        \
	X(bfd_down, "BFD sessions that went down")

enum counter {
#define X(name, help) C_##name,
	TRIPOD_COUNTERS(X)
#undef X
		COUNTERS,
};

struct counter_text {
	const char *name, *help;
};
extern const struct counter_text counter_texts[COUNTERS];
