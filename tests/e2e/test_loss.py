"""Packets lost at random between the kernel's TCP and the engine, both ways."""

import unittest

from harness import Lab, Netns, echo_exact, sh

CLIENT, ROUTER = "198.18.1.1", "198.18.1.2"

# In the forward hook of a router: a drop on the sender's own device would tell its TCP at once.
LOSS = """
table ip pollux_loss {{
  chain forward {{
    type filter hook forward priority 0;
    numgen random mod 1000 < {per_mille} counter drop
  }}
}}"""


class Behind(Netns):
    """A client that reaches the daemon through the lab's namespace as a router."""

    def __init__(self, lab, super_packets):
        super().__init__()
        sh("ip", "-n", lab.name, "link", "add", "down0", "type", "veth", "peer", "name", "up0",
           "netns", self.name)
        for netns, device, address in ((lab, "down0", ROUTER), (self, "up0", CLIENT)):
            sh("ip", "-n", netns.name, "address", "add", f"{address}/30", "dev", device)
            sh("ip", "-n", netns.name, "link", "set", device, "up")
            if not super_packets:
                netns.run("ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off")
        sh("ip", "-n", self.name, "route", "add", "default", "via", ROUTER)
        lab.run("sysctl", "-qw", "net.ipv4.ip_forward=1")


class Loss(unittest.TestCase):
    def transfer(self, offload, per_mille, size):
        with Lab({"tun.offload": offload}) as lab:
            client = Behind(lab, super_packets=offload)
            self.addCleanup(client.destroy)
            echo_exact(client, 100_000)
            lab.nft(LOSS.format(per_mille=per_mille))
            for _ in range(4):
                echo_exact(client, size // 4)
            totals = lab.totals()
            lab.nft("delete table ip pollux_loss")
            lab.wait_closed(60)
        self.assertGreater(totals["retransmitted_segments"], 0)
        self.assertGreater(totals["out_of_order_segments"], 0)

    def test_one_percent_plain_packets(self):
        self.transfer(False, 10, 8 << 20)

    def test_one_percent_super_packets(self):
        self.transfer(True, 10, 32 << 20)

    def test_five_percent(self):
        self.transfer(False, 50, 1 << 20)
