// A segment on its way through the steps of RFC 9293 3.10.7; private to the parts of Conn.
#pragma once

#include "proto/tcp/conn.h"

namespace pollux::tcp {

struct Conn::Incoming {
  const wire::TcpHeader& h;
  Slice data;
  std::uint16_t segment_size;  ///< octets of one segment of a super-packet
  Seq seq;                     ///< of data's first octet, after trimming
  bool fin;
  bool congested;  ///< CE

  std::uint32_t length() const { return data.size() + (fin ? 1U : 0U); }
};

}  // namespace pollux::tcp
