"""Packets lost at random between the kernel's TCP and the engine, both ways."""

import unittest

from harness import Lab, echo_exact

# On the device's own hooks: a drop in the output hook would tell the sending TCP at once.
LOSS = """
table netdev pollux_loss {{
  chain towards {{
    type filter hook egress device "pollux0" priority 0;
    numgen random mod 1000 < {per_mille} counter drop
  }}
  chain back {{
    type filter hook ingress device "pollux0" priority 0;
    numgen random mod 1000 < {per_mille} counter drop
  }}
}}"""


class Loss(unittest.TestCase):
    def transfer(self, settings, per_mille, size):
        with Lab(settings) as lab:
            lab.nft(LOSS.format(per_mille=per_mille))
            for _ in range(4):
                echo_exact(lab, size // 4)
            totals = lab.totals()
            lab.nft("delete table netdev pollux_loss")
            lab.wait_closed(60)
        return totals

    def test_one_percent_plain_packets(self):
        totals = self.transfer({"tun.offload": False}, 10, 8 << 20)
        self.assertGreater(totals["retransmitted_segments"], 0)

    def test_one_percent_super_packets(self):
        self.transfer({"tun.offload": True}, 10, 8 << 20)

    def test_five_percent(self):
        totals = self.transfer({"tun.offload": False}, 50, 1 << 20)
        self.assertGreater(totals["retransmitted_segments"], 0)
        self.assertGreater(totals["out_of_order_segments"], 0)
