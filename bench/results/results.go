// Package results makes the records that the benchmarks store and send, and stores many of them.
package results

import (
	"context"
	"fmt"
	"time"

	"heron/internal/clock"
	"heron/sync/message"
	"heron/sync/outbox"
)

// Record is a result as a camera at 10 frames/s makes it; i counts from 1 and is its frame number.
func Record(i int) message.ResultRecord {
	labels := [...]string{"ok", "ok", "ok", "scratched", "no_label", "empty"}
	best := 0.55 + float64(i*7919%450)/1000
	return message.ResultRecord{
		Stamp:  message.Stamp{T: start.Add(time.Duration(i) * 100 * time.Millisecond), Mono: time.Duration(i) * 100 * time.Millisecond},
		Camera: "front", Frame: uint64(i), Model: "bottles@1.4.2#9f86d0", Engine: "onnx",
		LatMS: 2.5 + float64(i*104729%40)/10, AgeMS: 12 + float64(i*31%9),
		Top: []message.Score{{Label: labels[i*31%6], Score: best}, {Label: labels[i*17%6], Score: (1 - best) / 2}},
	}
}

var start = time.Date(2026, 11, 20, 13, 0, 0, 0, time.UTC)

// Bytes is the payload of records from…to, as they stand in an envelope without their numbers.
func Bytes(from, to int) (n int64) {
	var b []byte
	for i := from; i <= to; i++ {
		b = Record(i).AppendJSON(b[:0])
		n += int64(len(b))
	}
	return n
}

// Config is that of an outbox for measurements.
func Config(path string) outbox.Config {
	return outbox.Config{Path: path, MaxBytes: 1 << 30, LossRate: 10, Header: func() message.Header {
		return message.Header{Group: "bench", Device: "dev-1", Boot: "3f9ac1", Agent: "bench", Clock: clock.Now()}
	}}
}

// Fill puts records from…to as fast as the outbox takes them: at most ahead records are put and not yet safe. safe, if not nil, is
// told of each record that became safe, in order.
func Fill(ctx context.Context, box *outbox.Outbox, from, to, ahead int, safe func(i int)) error {
	type put struct {
		i       int
		receipt *outbox.Receipt
	}
	waiting := make([]put, 0, ahead)
	settle := func() error {
		p := waiting[0]
		waiting = waiting[1:]
		select {
		case <-p.receipt.Done():
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := p.receipt.Err(); err != nil {
			return fmt.Errorf("record %d: %w", p.i, err)
		}
		if safe != nil {
			safe(p.i)
		}
		return nil
	}
	for i := from; i <= to; i++ {
		if len(waiting) == ahead {
			if err := settle(); err != nil {
				return err
			}
		}
		waiting = append(waiting, put{i, box.Put(Record(i))})
	}
	if err := box.Flush(ctx); err != nil {
		return err
	}
	for len(waiting) > 0 {
		if err := settle(); err != nil {
			return err
		}
	}
	return nil
}
