// Netstack with the settings that the daemon has: cubic, SACK, buffers of up to 6 MiB.
package main

import (
	"fmt"
	"net"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	nic           = 1
	bufferDefault = 1 << 20
	bufferMax     = 6 << 20
)

func newLink(fd int, o options) (stack.LinkEndpoint, error) {
	if o.gso {
		return newGsoLink(fd, uint32(o.mtu))
	}
	// What comes from the kernel of the same machine has a checksum that need not be looked at.
	return fdbased.New(&fdbased.Options{FDs: []int{fd}, MTU: uint32(o.mtu), RXChecksumOffload: true})
}

func setOptions(s *stack.Stack) error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	delay, control := tcpip.TCPDelayEnabled(false), tcpip.CongestionControlOption("cubic")
	for _, option := range []tcpip.SettableTransportProtocolOption{
		&sack, &moderate, &delay, &control,
		&tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: bufferDefault, Max: bufferMax},
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: bufferDefault, Max: bufferMax},
	} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("%T: %s", option, err)
		}
	}
	return nil
}

func newStack(fd int, o options) (*stack.Stack, error) {
	link, err := newLink(fd, o)
	if err != nil {
		return nil, err
	}
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	if err := setOptions(s); err != nil {
		return nil, err
	}
	if err := s.CreateNIC(nic, link); err != nil {
		return nil, fmt.Errorf("netstack: %s", err)
	}
	for _, text := range o.own {
		ip := net.ParseIP(strings.TrimSuffix(text, "/32")).To4()
		if ip == nil {
			return nil, fmt.Errorf("not an IPv4 address: %q", text)
		}
		own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.Address(ip).WithPrefix()}
		if err := s.AddProtocolAddress(nic, own, stack.AddressProperties{}); err != nil {
			return nil, fmt.Errorf("%s: %s", text, err)
		}
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	return s, nil
}
