// Command outbox measures what storing costs the disk: bytes that the device was given, journal included, per byte of payload,
// for a number of results put while there is no link and then drained; and beside it raw bbolt in its usual layout, one key a record.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"heron/bench/measure"
	"heron/bench/results"
	"heron/sync/outbox"
)

var (
	count = flag.Int("n", 1_000_000, "results")
	work  = flag.String("work", "bench/out", "folder for the disk image")
	raw   = flag.Bool("raw", true, "raw bbolt beside it")
)

func main() {
	flag.Parse()
	payload := results.Bytes(1, *count)
	measure.Log("%d results, %.0f MB of payload", *count, float64(payload)/1e6)
	f := measure.Figures{"figure": "outbox", "n": *count, "payload_bytes_per_result": measure.Round(float64(payload)/float64(*count), 1)}
	onDisk(func(d *measure.Disk) { heronOutbox(f, d, payload) })
	if *raw {
		onDisk(func(d *measure.Disk) { rawBolt(f, d, payload) })
	}
	f.Print()
}

func onDisk(f func(*measure.Disk)) {
	d, err := measure.NewDisk(*work, "disk", 3<<30)
	measure.Must(err)
	defer d.Close()
	f(d)
}

func heronOutbox(f measure.Figures, d *measure.Disk, payload int64) {
	per := func(b int64) float64 { return measure.Round(float64(b)/float64(payload), 3) }
	box, err := outbox.New(results.Config(filepath.Join(d.Dir, "outbox.db")))
	measure.Must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx) }()
	measure.Must(box.Flush(ctx)) // open and made: what follows is the records' own

	before, cpu, began := d.Written(), measure.CPU(os.Getpid()), time.Now()
	measure.Must(results.Fill(ctx, box, 1, *count, 15_000, nil))
	took := time.Since(began).Seconds()
	put := d.Written() - before
	f["alone_on_device"] = d.Alone
	f["put_per_s"] = measure.Round(float64(*count)/took, 0)
	f["put_cpu_us"] = measure.Round((measure.CPU(os.Getpid())-cpu)*1e6/float64(*count), 2)
	f["disk_per_byte_put"] = per(put)
	measure.Log("put in %.1f s, %.3f bytes a byte; draining", took, per(put))

	began = time.Now()
	acked := drain(ctx, box)
	f["drain_per_s"] = measure.Round(float64(acked)/time.Since(began).Seconds(), 0)
	drained, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	measure.Must(box.Drained(drained))
	time.Sleep(2 * time.Second) // deletes are batched: let the last batch be written
	total := d.Written() - before
	f["drained"] = acked
	f["disk_per_byte_total"] = per(total)
	f["commits"] = box.Stats().Commits
	f["rss_anon_mb_end"] = measure.MemoryOf(os.Getpid()).Anonymous
	cancel()
	measure.Must(<-ended)
	measure.Log("put and drain: %.3f bytes a byte", per(total))
}

// drain takes every group as an uplink with a fast link would.
func drain(ctx context.Context, box *outbox.Outbox) (records int) {
	box.Link(true)
	for records < *count {
		next, cancel := context.WithTimeout(ctx, 10*time.Second)
		g, err := box.Next(next, false)
		cancel()
		measure.Must(err)
		records += g.Count
		box.Ack(g.ID)
	}
	return records
}

// rawBolt is the layout that most people use: a key a record, a hundred a transaction, deletes likewise.
func rawBolt(f measure.Figures, d *measure.Disk, payload int64) {
	per := func(b int64) float64 { return measure.Round(float64(b)/float64(payload), 2) }
	db, err := bbolt.Open(filepath.Join(d.Dir, "raw.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	measure.Must(err)
	defer db.Close()
	bucket := []byte("records")
	measure.Must(db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(bucket); return err }))
	const batch = 100
	before, began := d.Written(), time.Now()
	for i := 1; i <= *count; i += batch {
		measure.Must(db.Update(func(tx *bbolt.Tx) error {
			for k := i; k < i+batch && k <= *count; k++ {
				if err := tx.Bucket(bucket).Put(binary.BigEndian.AppendUint64(nil, uint64(k)), results.Record(k).AppendJSON(nil)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	f["raw_put_per_s"] = measure.Round(float64(*count)/time.Since(began).Seconds(), 0)
	f["raw_disk_per_byte_put"] = per(d.Written() - before)
	measure.Log("raw bbolt: put, %.2f bytes a byte; draining", per(d.Written()-before))
	for left := *count; left > 0; {
		measure.Must(db.Update(func(tx *bbolt.Tx) error {
			c := tx.Bucket(bucket).Cursor()
			var keys [][]byte
			for k, _ := c.First(); k != nil && len(keys) < batch; k, _ = c.Next() {
				keys = append(keys, append([]byte(nil), k...))
			}
			left -= len(keys)
			for _, k := range keys {
				if err := tx.Bucket(bucket).Delete(k); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	f["raw_disk_per_byte_total"] = per(d.Written() - before)
	measure.Log("raw bbolt: put and drain, %.2f bytes a byte", per(d.Written()-before))
}
