"""The reflector: one TCP port that passes sealed announcements on, keeps the last of each device, and joins pipes.

It needs Python's standard library alone and knows no key: what it passes on is sealed.  It
speaks SparkleShare's "fanout" protocol with five requests more.  Everything is a line of
visible ASCII and spaces that ends with a newline.

======================================  =====================================================
A client says                           and the server
======================================  =====================================================
(connects)                              says ``debug!connected...``
``subscribe ID``                        sends ``ID!MESSAGE`` for every announcement from now on
``unsubscribe ID``                      sends no more of them, ``follow`` included
``announce ID MESSAGE``                 passes ``ID!MESSAGE`` on, to the sender too; keeps nothing
``ping``                                says the seconds since 1970
``follow TAG``                          as ``subscribe``, and for longer lines; first sends every
                                        kept ``TAG!SLOT PAYLOAD``, then ``TAG!end``
``keep TAG SLOT PAYLOAD``               keeps the payload in place of the slot's last one and
                                        passes ``TAG!SLOT PAYLOAD`` on, not to the sender
``call ID``                             says ``ID!TICKET`` to all who subscribe to ``ID``
``take TICKET``                         joins this connection and the one that has called
======================================  =====================================================

Who calls or takes a call subscribes to nothing and says nothing more until it hears ``pipe!open``; from
there on everything that one of the two says goes to the other, and no line is read.

What the server refuses it answers with ``debug!refused REASON``; SparkleShare passes over all
that begins with ``debug!``.  An id, tag or slot is up to 128 visible characters without ``!``.  A
payload is base64.  Who only subscribes gets no line of more than 4096 bytes, which is what
SparkleShare reads at once; and every line is sent by itself, since of a read it uses the first
line only.  Unlike the fanout server of 2012 this one does not subscribe everybody to ``all``.
"""
