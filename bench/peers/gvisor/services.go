// Echo, discard, chargen and http: one goroutine for each connection, as users of netstack have it.
package main

import (
	"bufio"
	"fmt"
	"io"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	blockSize = 128 << 10
	backlog   = 4096
)

type counters struct{ in, out, accepted atomic.Int64 }

type connection struct {
	endpoint tcpip.Endpoint
	queue    *waiter.Queue
	*gonet.TCPConn
	c *counters
}

type service func(connection)

func serveAll(s *stack.Stack, page []byte, c *counters) error {
	for port, serve := range map[uint16]service{7: echo, 9: discard, 19: chargen, 80: http(page)} {
		queue := new(waiter.Queue)
		listener, err := s.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, queue)
		if err == nil {
			err = listener.Bind(tcpip.FullAddress{Port: port})
		}
		if err == nil {
			err = listener.Listen(backlog)
		}
		if err != nil {
			return fmt.Errorf("port %d: %s", port, err)
		}
		go acceptAll(listener, queue, serve, c)
	}
	return nil
}

// acceptAll is gonet's listener with a longer backlog, and with the endpoint in hand.
func acceptAll(listener tcpip.Endpoint, queue *waiter.Queue, serve service, c *counters) {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	queue.EventRegister(&entry)
	for {
		endpoint, own, err := listener.Accept(nil)
		if err != nil {
			<-readable
			continue
		}
		c.accepted.Add(1)
		endpoint.SocketOptions().SetDelayOption(false)
		go func() {
			conn := connection{endpoint, own, gonet.NewTCPConn(own, endpoint), c}
			defer conn.Close()
			serve(conn)
		}()
	}
}

func echo(conn connection) {
	// The buffer grows with what comes in: most connections never need a whole block.
	block := make([]byte, 4<<10)
	for {
		n, err := conn.Read(block)
		if err != nil {
			return
		}
		conn.c.in.Add(int64(n))
		m, err := conn.Write(block[:n])
		conn.c.out.Add(int64(m))
		if err != nil {
			return
		}
		if n == len(block) && n < blockSize {
			block = make([]byte, 2*n)
		}
	}
}

// discard reads at the endpoint itself, so that nothing is copied.
func discard(conn connection) {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	conn.queue.EventRegister(&entry)
	defer conn.queue.EventUnregister(&entry)
	for {
		found, err := conn.endpoint.Read(io.Discard, tcpip.ReadOptions{})
		conn.c.in.Add(int64(found.Count))
		if _, wait := err.(*tcpip.ErrWouldBlock); wait {
			<-readable
		} else if err != nil {
			return
		}
	}
}

// pattern is that of RFC 864: lines of 72 of the 95 printable characters.
func pattern(size int) []byte {
	out := make([]byte, 0, size+74)
	for line := 0; len(out) < size; line++ {
		for i := 0; i < 72; i++ {
			out = append(out, byte(' '+(line+i)%95))
		}
		out = append(out, '\r', '\n')
	}
	return out
}

func chargen(conn connection) {
	const period = 95 * 74
	block := pattern(blockSize / period * period)
	for {
		n, err := conn.Write(block)
		conn.c.out.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// http answers any request that has no body with the page.
func http(page []byte) service {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"
	answer := []byte(fmt.Sprintf(head, len(page), page))
	return func(conn connection) {
		reader := bufio.NewReader(conn)
		for {
			for {
				line, err := reader.ReadSlice('\n')
				if err != nil {
					return
				}
				conn.c.in.Add(int64(len(line)))
				if len(line) <= 2 {
					break
				}
			}
			n, err := conn.Write(answer)
			conn.c.out.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
}
