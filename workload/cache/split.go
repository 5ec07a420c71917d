package cache

import (
	"net"
	"sync"
	"time"
)

// handshakeRecord is the first byte that a TLS client sends (RFC 8446, section 5.1); no HTTP request begins with it.
const handshakeRecord = 22

// split returns two listeners that share the connections of one: those of clients that speak TLS, and all others. So nodes may change from one
// to the other at a time of their own. Closing one of the two closes all.
func split(socket net.Listener) (secret, plain net.Listener) {
	s := &splitter{socket: socket, done: make(chan struct{}), closing: sync.OnceValue(socket.Close)}
	a := &share{splitter: s, connections: make(chan net.Conn)}
	b := &share{splitter: s, connections: make(chan net.Conn)}
	go s.accept(a, b)
	return a, b
}

// splitter accepts connections for two shares.
type splitter struct {
	socket  net.Listener
	closing func() error
	once    sync.Once
	done    chan struct{}
	err     error // of the listener, once done is closed
}

// Addr is the address of the listener that is shared.
func (s *splitter) Addr() net.Addr { return s.socket.Addr() }

// share is one side of it.
type share struct {
	*splitter
	connections chan net.Conn
}

func (s *splitter) accept(secret, plain *share) {
	for {
		connection, err := s.socket.Accept()
		if err != nil {
			s.end(err)
			return
		}
		go s.sort(connection, secret, plain)
	}
}

// sort waits for the first byte of a connection, but not longer than for the header of a request.
func (s *splitter) sort(connection net.Conn, secret, plain *share) {
	first := make([]byte, 1)
	_ = connection.SetReadDeadline(time.Now().Add(readHeaderTimeout))
	if _, err := connection.Read(first); err != nil {
		_ = connection.Close()
		return
	}
	_ = connection.SetReadDeadline(time.Time{})
	to := plain
	if first[0] == handshakeRecord {
		to = secret
	}
	select {
	case to.connections <- &begun{Conn: connection, first: first}:
	case <-s.done:
		_ = connection.Close()
	}
}

func (s *splitter) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.done)
	})
}

// Accept returns the next connection of this side.
func (s *share) Accept() (net.Conn, error) {
	select {
	case connection := <-s.connections:
		return connection, nil
	case <-s.done:
		return nil, s.err
	}
}

// Close closes the listener that is shared, once.
func (s *share) Close() error {
	s.end(net.ErrClosed)
	return s.closing()
}

// begun is a connection whose first byte has been read.
type begun struct {
	net.Conn
	first []byte
}

// Read returns the first byte before all others.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) == 0 || len(p) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
}
