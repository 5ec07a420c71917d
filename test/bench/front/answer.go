package front

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

var errReset = errors.New("the connection was reset, as the fault wants it")

// answer counts content and does to it what the fault wants.
type answer struct {
	http.ResponseWriter
	request *http.Request
	ledger  *ledger
	key     Key

	rate      int64 // bytes per second; 0: no limit
	cut, flip bool

	begun           bool
	success         bool
	position, total int64 // in the whole content, also when only a range of it is answered
}

// Unwrap lets http.ResponseController find what is below.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.begun = true
	a.success = status/100 == 2
	a.total, _ = strconv.ParseInt(a.Header().Get("Content-Length"), 10, 64)
	if status == http.StatusPartialContent {
		var last int64
		_, _ = fmt.Sscanf(a.Header().Get("Content-Range"), "bytes %d-%d/%d", &a.position, &last, &a.total)
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	if !a.success {
		return a.ResponseWriter.Write(p)
	}
	written := 0
	for written < len(p) {
		n, err := a.write(p[written:])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// write writes the first part of p, as much as may go at once.
func (a *answer) write(p []byte) (int, error) {
	if a.rate > 0 {
		p = p[:min(int64(len(p)), max(a.rate/20, 1))]
	}
	half := a.total / 2
	if a.cut {
		if a.position >= half {
			return 0, a.reset()
		}
		p = p[:min(int64(len(p)), half-a.position)]
	}
	if a.flip && a.position+int64(len(p)) > half {
		p = bytes.Clone(p)
		p[max(half-a.position, 0)] ^= 1
		a.flip = false
	}
	n, err := a.ResponseWriter.Write(p)
	a.position += int64(n)
	a.ledger.content(a.key, n)
	if err != nil || a.rate == 0 {
		return n, err
	}
	_ = http.NewResponseController(a.ResponseWriter).Flush()
	return n, wait(a.request.Context(), time.Duration(n)*time.Second/time.Duration(a.rate))
}

// reset sends what was written, then ends the connection with a reset instead of an orderly close.
func (a *answer) reset() error {
	_ = http.NewResponseController(a.ResponseWriter).Flush()
	connection, _, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return errors.Join(errReset, err)
	}
	if d, ok := connection.(*distantConnection); ok {
		if tcp, ok := d.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	_ = connection.Close()
	return errReset
}

// distant is a listener whose connections take a round trip more to be there.
type distant struct {
	net.Listener
	delay func() time.Duration
}

// Accept implements net.Listener.
func (d distant) Accept() (net.Conn, error) {
	connection, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &distantConnection{Conn: connection, delay: d.delay()}, nil
}

type distantConnection struct {
	net.Conn
	delay time.Duration
	once  sync.Once
}

// Read implements net.Conn.
func (d *distantConnection) Read(p []byte) (int, error) {
	d.once.Do(func() {
		if d.delay > 0 {
			<-time.After(d.delay)
		}
	})
	return d.Conn.Read(p)
}
