package uplink

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"heron/sync/message"
	"heron/sync/outbox"
)

// maxEnvelope bounds what one group may unpack to; the outbox seals at 96 KiB and takes no record beyond that.
const maxEnvelope = 4 << 20

// unpacker turns groups as stored into plain envelopes. Its buffers go round; its decoder is made when first needed.
type unpacker struct {
	decoder func() (*zstd.Decoder, error)
	buffers chan []byte
}

func newUnpacker(most int) *unpacker {
	return &unpacker{buffers: make(chan []byte, most), decoder: sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxEnvelope))
	})}
}

// envelope unpacks a group into a buffer that is the caller's until giveBack.
func (u *unpacker) envelope(g outbox.Group) ([]byte, error) {
	d, err := u.decoder()
	if err != nil {
		return nil, err
	}
	var buffer []byte
	select {
	case buffer = <-u.buffers:
	default:
	}
	b, err := d.DecodeAll(g.Body, buffer[:0])
	if err != nil {
		return nil, err
	}
	if g.Size != 0 && len(b) != g.Size {
		return nil, fmt.Errorf("%d bytes instead of %d", len(b), g.Size)
	}
	return b, nil
}

func (u *unpacker) giveBack(buffer []byte) {
	if cap(buffer) == 0 {
		return
	}
	select {
	case u.buffers <- buffer:
	default:
	}
}

// compress says how groups of a stream travel.
func (c Config) compress(s message.Stream) string {
	if how, ok := c.CompressStreams[s]; ok {
		return how
	}
	return c.Compress
}
