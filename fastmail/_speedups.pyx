# cython: language_level=3
"""The engine of fastmail: everything that happens per session, compiled as one module.

One file per noun, put together here so that calls inline across files. Read them in this order.
"""

from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastmail.engine.openssl cimport *
from fastmail.engine.os cimport *

cdef struct Core
cdef struct Login
cdef struct AuthConnection
cdef struct Session
cdef struct Channel
cdef struct ProxyHeader
cdef struct BackendSession
cdef struct LastBackend

# bytes and encodings
include "engine/pages.pyx"
include "engine/buffers.pyx"
include "engine/tokens.pyx"
include "engine/addresses.pyx"
# time and logs
include "engine/clock.pyx"
include "engine/timers.pyx"
include "engine/log.pyx"
include "engine/reasons.pyx"
# the dialogues, without sockets
include "engine/protocol.pyx"
include "engine/networks.pyx"
include "engine/tlsfiles.pyx"
include "engine/sharedstore.pyx"
include "engine/tlscache.pyx"
include "engine/tlsconf.pyx"
include "engine/conf.pyx"
include "engine/answer.pyx"
include "engine/login.pyx"
include "engine/sasl.pyx"
include "engine/imap.pyx"
include "engine/pop3.pyx"
include "engine/smtp.pyx"
include "engine/proxytlv.pyx"
include "engine/proxyproto.pyx"
include "engine/auth.pyx"
include "engine/authcache.pyx"
include "engine/upstream.pyx"
include "engine/dialogue.pyx"
# the sessions
include "engine/rings.pyx"
include "engine/core.pyx"
include "engine/memory.pyx"
include "engine/channel.pyx"
include "engine/meter.pyx"
include "engine/tls.pyx"
include "engine/session.pyx"
include "engine/arrival.pyx"
include "engine/handshake.pyx"
include "engine/commands.pyx"
include "engine/backendtls.pyx"
include "engine/own.pyx"
include "engine/backend.pyx"
include "engine/preconnect.pyx"
include "engine/relay.pyx"
include "engine/authconn.pyx"
include "engine/loop.pyx"
include "engine/places.pyx"
include "engine/engine.pyx"
