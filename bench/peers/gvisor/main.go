// A server on gVisor's netstack behind a TUN device: echo, discard, chargen and http.
//
// Two links: fdbased as the library has it (one packet of MTU size a system call), and with --gso
// the one of gsolink.go. It prints `ready` when it serves and one line of JSON at its end.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

type addresses []string

func (a *addresses) String() string     { return strings.Join(*a, ",") }
func (a *addresses) Set(s string) error { *a = append(*a, s); return nil }

type options struct {
	device, host string
	own          addresses
	mtu, queue   int
	gso          bool
	page         string
}

func parseCommandLine() options {
	var o options
	flag.StringVar(&o.device, "device", "pollux0", "name of the TUN device")
	flag.StringVar(&o.host, "host-address", "198.18.0.1/32", "the kernel's address on it")
	flag.Var(&o.own, "address", "an own address; may come several times")
	flag.IntVar(&o.mtu, "mtu", 1500, "of the device")
	flag.IntVar(&o.queue, "txqueuelen", 1000, "packets that wait in the device")
	flag.BoolVar(&o.gso, "gso", false, "super-packets over the virtio-net header")
	flag.StringVar(&o.page, "page", "", "file that http answers with")
	flag.Parse()
	if len(o.own) == 0 {
		o.own = addresses{"198.18.0.2"}
	}
	return o
}

// report is the line at the end. Netstack resends what was not lost when it misreads a delay, and
// that shows in retransmits.
func report(s *stack.Stack, c *counters, o options, took time.Duration) {
	tcp := s.Stats().TCP
	line, _ := json.Marshal(map[string]interface{}{
		"octets":           c.in.Load() + c.out.Load(),
		"octets_in":        c.in.Load(),
		"octets_out":       c.out.Load(),
		"connections":      c.accepted.Load(),
		"seconds":          took.Seconds(),
		"offload":          o.gso,
		"segments_in":      tcp.ValidSegmentsReceived.Value(),
		"segments_out":     tcp.SegmentsSent.Value(),
		"retransmits":      tcp.Retransmits.Value(),
		"timeouts":         tcp.Timeouts.Value(),
		"recoveries":       tcp.SACKRecovery.Value(),
		"invalid_segments": tcp.InvalidSegmentsReceived.Value() + tcp.ChecksumErrors.Value(),
	})
	fmt.Println(string(line))
}

func run(o options) error {
	var page []byte
	if o.page != "" {
		var err error
		if page, err = os.ReadFile(o.page); err != nil {
			return err
		}
	}
	fd, err := openTun(o)
	if err != nil {
		return err
	}
	s, err := newStack(fd, o)
	if err != nil {
		return err
	}
	var c counters
	if err := serveAll(s, page, &c); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	began := time.Now()
	fmt.Println("ready")
	<-stop
	report(s, &c, o, time.Since(began))
	return nil
}

func main() {
	if err := run(parseCommandLine()); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(1)
	}
}
