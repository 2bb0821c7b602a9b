package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"heron/sync/message"
)

// maxPlain bounds what a compressed batch may unpack to; batches are at most 128 KiB.
const maxPlain = 4 << 20

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// Decode reads a batch as it came, plain or as one zstd frame.
func Decode(payload []byte) (message.Batch, error) {
	var b message.Batch
	if bytes.HasPrefix(payload, zstdMagic) {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPlain))
		if err != nil {
			return b, err
		}
		defer d.Close()
		if payload, err = d.DecodeAll(payload, nil); err != nil {
			return b, fmt.Errorf("unpack: %w", err)
		}
	}
	if err := json.Unmarshal(payload, &b); err != nil {
		return b, err
	}
	if b.SpecVersion != "1.0" || b.Data.Epoch == "" {
		return b, errors.New("not a CloudEvents batch with an epoch")
	}
	return b, nil
}
