// The TUN device and the kernel's side of it.
package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/if_tun.h.
const (
	tunOffloadChecksum = 0x01
	tunOffloadTso4     = 0x02
	vnetHeaderSize     = 10
)

type interfaceRequest struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

func control(fd int, request uint, argument uintptr, what string) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), argument); e != 0 {
		return fmt.Errorf("%s: %w", what, e)
	}
	return nil
}

// openTun makes the device, sets it up, and gives it the routes to the own addresses.
func openTun(o options) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request := interfaceRequest{flags: unix.IFF_TUN | unix.IFF_NO_PI}
	copy(request.name[:unix.IFNAMSIZ-1], o.device)
	if o.gso {
		request.flags |= unix.IFF_VNET_HDR
	}
	if err := control(fd, unix.TUNSETIFF, uintptr(unsafe.Pointer(&request)), "TUNSETIFF"); err != nil {
		return -1, err
	}
	if o.gso {
		const offload = tunOffloadChecksum | tunOffloadTso4
		if err := control(fd, unix.TUNSETOFFLOAD, offload, "TUNSETOFFLOAD"); err != nil {
			return -1, err
		}
	}
	return fd, configure(o)
}

func configure(o options) error {
	commands := [][]string{
		{"addr", "add", o.host, "dev", o.device},
		{"link", "set", "dev", o.device, "mtu", strconv.Itoa(o.mtu), "txqueuelen",
			strconv.Itoa(o.queue), "up"},
	}
	for _, address := range o.own {
		commands = append(commands, []string{"route", "add", address, "dev", o.device})
	}
	for _, words := range commands {
		if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(words, " "), err, out)
		}
	}
	return nil
}
