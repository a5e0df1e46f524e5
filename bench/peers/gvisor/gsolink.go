// A link with super-packets both ways: the virtio-net header is read and written, checksums are
// left to the kernel, and a segment of up to 64 KiB is one system call. What the users of netstack
// on a TUN device (Tailscale, sing-tun) have added to it, cut down to TCP over IPv4.
package main

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/bufferv2"
	"gvisor.dev/gvisor/pkg/sync"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/rawfile"
	"gvisor.dev/gvisor/pkg/tcpip/link/stopfd"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Of linux/virtio_net.h.
const (
	vnetNeedsChecksum = 1
	vnetGsoTcp4       = 1
)

const (
	packetSizeMax = 65_535
	// Smaller packets are copied out of the buffer that they were read to, larger ones keep it.
	copiedBelow = 16 << 10
)

type gsoLink struct {
	fd         int
	mtu        uint32
	stop       stopfd.StopFD
	dispatcher stack.NetworkDispatcher
	running    sync.WaitGroup
}

var _ stack.LinkEndpoint = (*gsoLink)(nil)
var _ stack.GSOEndpoint = (*gsoLink)(nil)

func newGsoLink(fd int, mtu uint32) (*gsoLink, error) {
	stop, err := stopfd.New()
	return &gsoLink{fd: fd, mtu: mtu, stop: stop}, err
}

func (l *gsoLink) MTU() uint32                             { return l.mtu }
func (l *gsoLink) MaxHeaderLength() uint16                 { return 0 }
func (l *gsoLink) LinkAddress() tcpip.LinkAddress          { return "" }
func (l *gsoLink) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (l *gsoLink) AddHeader(stack.PacketBufferPtr)         {}
func (l *gsoLink) IsAttached() bool                        { return l.dispatcher != nil }
func (l *gsoLink) Wait()                                   { l.running.Wait() }
func (l *gsoLink) GSOMaxSize() uint32                      { return packetSizeMax }
func (l *gsoLink) SupportedGSO() stack.SupportedGSO        { return stack.HostGSOSupported }
func (l *gsoLink) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

func (l *gsoLink) Attach(dispatcher stack.NetworkDispatcher) {
	if dispatcher == nil && l.dispatcher != nil {
		l.stop.Stop()
		l.Wait()
	}
	l.dispatcher = dispatcher
	if dispatcher == nil {
		return
	}
	l.running.Add(1)
	go func() {
		defer l.running.Done()
		l.readAll()
	}()
}

// readAll hands packets up until the link is stopped.
func (l *gsoLink) readAll() {
	var vnet [vnetHeaderSize]byte
	view := bufferv2.NewViewSize(packetSizeMax)
	iovecs := []unix.Iovec{rawfile.IovecFromBytes(vnet[:]), rawfile.IovecFromBytes(view.AsSlice())}
	for {
		n, err := rawfile.BlockingReadvUntilStopped(l.stop.EFD, l.fd, iovecs)
		if err != nil || n < 0 {
			return
		}
		n -= vnetHeaderSize
		if n < header.IPv4MinimumSize || header.IPVersion(view.AsSlice()) != header.IPv4Version {
			continue
		}
		packet := view
		if n < copiedBelow {
			packet = bufferv2.NewViewWithData(view.AsSlice()[:n])
		} else {
			packet.CapLength(n)
			view = bufferv2.NewViewSize(packetSizeMax)
			iovecs[1] = rawfile.IovecFromBytes(view.AsSlice())
		}
		l.deliver(packet)
	}
}

func (l *gsoLink) deliver(packet *bufferv2.View) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: bufferv2.MakeWithView(packet)})
	defer pkt.DecRef()
	l.dispatcher.DeliverNetworkPacket(header.IPv4ProtocolNumber, pkt)
}

// vnetHeader says what the kernel has yet to do with a packet.
func vnetHeader(pkt stack.PacketBufferPtr) (out [vnetHeaderSize]byte) {
	gso := pkt.GSOOptions
	if gso.Type == stack.GSONone {
		return
	}
	out[0] = vnetNeedsChecksum
	if pkt.Data().Size() > int(gso.MSS) {
		out[1] = vnetGsoTcp4
		binary.LittleEndian.PutUint16(out[4:], gso.MSS)
	}
	binary.LittleEndian.PutUint16(out[2:], uint16(pkt.HeaderSize()))
	binary.LittleEndian.PutUint16(out[6:], gso.L3HdrLen)
	binary.LittleEndian.PutUint16(out[8:], gso.CsumOffset)
	return
}

func (l *gsoLink) write(pkt stack.PacketBufferPtr) tcpip.Error {
	vnet := vnetHeader(pkt)
	var room [8]unix.Iovec
	iovecs := append(room[:0], unix.Iovec{Base: &vnet[0], Len: vnetHeaderSize})
	for _, view := range pkt.AsSlices() {
		iovecs = rawfile.AppendIovecFromBytes(iovecs, view, rawfile.MaxIovs)
	}
	_, _, e := unix.RawSyscall(unix.SYS_WRITEV, uintptr(l.fd), uintptr(unsafe.Pointer(&iovecs[0])),
		uintptr(len(iovecs)))
	if e != 0 {
		return rawfile.TranslateErrno(e)
	}
	return nil
}

func (l *gsoLink) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	for i, pkt := range packets.AsSlice() {
		if err := l.write(pkt); err != nil {
			return i, err
		}
	}
	return packets.Len(), nil
}
