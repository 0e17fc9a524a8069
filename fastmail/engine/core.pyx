# The state of one worker's engine, and the structs that it owns. No Python object is reachable
# from here.

cdef enum:
    LOCAL_KNOWN = 16            # addresses of which it is known for a while whether they are this machine's
    LOCAL_TIME = 5000           # milliseconds

cdef struct LocalAddress:
    Endpoint address
    bint local
    uint64_t until

cdef struct Listener:
    int fd
    ServerConf *server
    Span text                   # the printed address
    Listener *alternate         # another address served from this socket, a wildcard's
    bint shared                 # it is such an alternate: the wildcard's entry accepts
    Address local               # what it listens on
    int family                  # the same, as plain numbers
    uint16_t port
    uint8_t address[16]
    bint wildcard
    bint both                   # the wildcard of both IPv6 and IPv4
    bint chained                # a backend of ours, which has been logged
    bint proxy_protocol         # a PROXY header comes before anything else
    bint tls                    # from the first byte on (listen … ssl)
    bint watched
    uint32_t accepts            # so far

cdef struct Pipe:
    Pipe *next
    int fds[2]
    uint32_t size               # bytes, as the kernel has granted them

cdef struct Flow:               # one direction of a relay
    Buffer *pending             # bytes that the receiver had no room for
    Pipe *pipe                  # while it is bulk: borrowed from the pool
    uint32_t piped              # bytes in the pipe
    bint bulk                   # a whole shared buffer came at once: splice from now on

cdef enum Room:                 # that a worker has for more clients, see places.pyx
    ROOM_GONE = 0               # no worker, or one that takes no more clients
    ROOM_ENOUGH
    ROOM_SCARCE                 # what is left is needed for the sessions that are there
    ROOM_NONE

cdef struct Core:
    int epoll
    uint64_t turn               # counts the batches of events
    bint batch_full             # there may be more events than this batch has
    Clock clock
    Wheel wheel
    Timer idle_timer            # when the first of the idle auth connections is closed
    uint64_t accept_pause       # milliseconds without accepting when descriptors have run out
    Timer accept_timer          # when listeners are watched again
    LocalAddress[LOCAL_KNOWN] local_addresses
    bint accept_paused          # they are not until then
    uint8_t *places             # a Room of each worker, shared by all; NULL: there are no others
    size_t place_count
    size_t place                # ours
    int bell                    # an eventfd, shared too: places have changed
    Room room                   # what ours says
    bint look_due               # whether to watch the listeners is to be decided anew
    uint64_t *counter           # numbers sessions; shared by the workers
    uint64_t own_counter
    Listener *listeners
    int listener_count
    bint multi_accept
    bint exclusive
    bint draining               # no new sessions; finish with the last
    bint finished
    uint32_t stop_ordered       # written by Python
    uint32_t shutdown_ordered
    uint32_t cut_ordered
    bint cutting                # relays are over (worker_shutdown_timeout)
    uint32_t not_accepting      # read by Python: what must be told even if the ring is full
    uint32_t drained
    uint32_t worker_connections
    uint32_t connections        # descriptors counted against worker_connections
    time_t alerted_session      # the same, in a session's name
    time_t accept_alerted       # when a failing accept4() was logged
    time_t alerted              # when "worker_connections are not enough" was logged
    # sessions
    Session **table             # by slot; NULL: free
    uint32_t table_size
    uint32_t *free_slots
    uint32_t free_count
    uint32_t generation
    uint32_t sessions
    uint32_t sessions_peak      # the most at once since memory was given back
    Timer trim_timer            # when it is
    Session *run                # work left over for the next turn
    Session *run_last
    Session *handshakes         # TLS handshakes that can go on: a few a turn, after all else
    Session *handshakes_last
    Session *dead               # closed, to be freed after the batch of events
    AuthConnection *dead_auth
    Network *debug              # debug_connection
    uint32_t debug_count
    # what they share
    Log log
    LogSink *sinks
    int sink_count
    bint logs_wait              # one of them is full
    char *shared                # one relay buffer for all
    char *spare                 # a block for TLS records that wait; NULL: lent, or never needed
    Pipe *pipes                 # empty ones
    Timer pipe_timer            # when those are closed
    uint32_t pipe_count         # in the pool and lent
    uint32_t pipes_lent
    Ring events
    Ring orders
    # counters
    uint64_t accepted
    uint64_t logins
    uint64_t relaying
    uint64_t backend_handshakes
    uint64_t backend_resumed
    uint64_t auth_requests
    uint32_t auth_connections


cdef enum:
    SHARED_SIZE = 64 * 1024
