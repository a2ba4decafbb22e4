/* Static trace points (USDT) of the life of a connection, for bpftrace, perf and systemtap; a nop when nobody looks.
 *
 *   ambar:connection_accept      (worker, id, direction)
 *   ambar:connection_policy      (worker, id, is_allowed)
 *   ambar:connection_dial        (worker, id, port)
 *   ambar:connection_connect     (worker, id, status)      0: the CONNECT was sent; else what was answered
 *   ambar:connection_first_byte  (worker, id, nanoseconds since accept)
 *   ambar:connection_close       (worker, id, close state, bytes received, bytes sent)
 *
 * Example: bpftrace -e 'usdt:/usr/local/bin/ztunnel:ambar:connection_first_byte { @us = hist(arg2 / 1000); }' */
#ifndef AMBAR_ZTUNNEL_TRACE_POINTS_H
#define AMBAR_ZTUNNEL_TRACE_POINTS_H

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define TRACE_POINT_3(name_, a_, b_, c_) DTRACE_PROBE3(ambar, name_, a_, b_, c_)
#define TRACE_POINT_5(name_, a_, b_, c_, d_, e_) DTRACE_PROBE5(ambar, name_, a_, b_, c_, d_, e_)
#else
#define TRACE_POINT_3(name_, a_, b_, c_) ((void)0)
#define TRACE_POINT_5(name_, a_, b_, c_, d_, e_) ((void)0)
#endif

#endif
