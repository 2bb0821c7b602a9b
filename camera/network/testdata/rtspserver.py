"""An RTSP camera for tests: rtspserver.py PORT CODEC [USER PASSWORD basic|digest]. Its picture is one grey, 10 + 20·n, where n is the
number of the 40-ms interval since the epoch, modulo 12."""
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

CODECS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bframes=0 ! rtph264pay name=pay0 config-interval=1",
    "openh264": "openh264enc gop-size=25 bitrate=2000000 ! h264parse ! rtph264pay name=pay0 config-interval=1",
    "jpeg": "jpegenc ! rtpjpegpay name=pay0",
    "vp8": "vp8enc deadline=1 keyframe-max-dist=25 ! rtpvp8pay name=pay0",
    "theora": "theoraenc ! rtptheorapay name=pay0",
    "raw": "rtpvrawpay name=pay0",
}


def paint(pad, info, src):
    # The source fills the next buffer now and pushes it an interval later: it is to show that time.
    v = 10 + 20 * (int(time.time() * 25 + 1) % 12)
    src.set_property("foreground-color", 0xFF000000 | v << 16 | v << 8 | v)
    return Gst.PadProbeReturn.OK


def send_at_once(media, state):
    # As cameras do. This server would hold each picture until the pipeline's latency is over: 21 ms with JPEG, 60 with x264.
    bin = media.get_element()
    while bin.get_parent():
        bin = bin.get_parent()
    sinks = bin.iterate_sinks()
    ok, sink = sinks.next()
    while ok == Gst.IteratorResult.OK:
        sink.set_property("sync", False)
        ok, sink = sinks.next()


def configure(factory, media):
    src = media.get_element().get_by_name("src")
    src.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, paint, src)
    media.connect("new-state", send_at_once)


Gst.init(None)
port, codec = sys.argv[1:3]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc name=src is-live=true pattern=solid-color ! video/x-raw,format=I420,width=640,height=480,framerate=25/1 ! queue max-size-buffers=1 leaky=downstream ! %s )" % CODECS[codec]
)
factory.set_shared(True)
factory.connect("media-configure", configure)
if len(sys.argv) > 3:
    user, password, method = sys.argv[3:6]
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if method == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    role = Gst.Structure.new_empty("user")
    role.set_value("media.factory.access", True)
    role.set_value("media.factory.construct", True)
    factory.add_role_from_structure(role)
server.get_mount_points().add_factory("/cam", factory)
if server.attach(None) == 0:
    sys.exit("cannot listen on port " + port)
print("ready", flush=True)
GLib.MainLoop().run()
