package outbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"heron/sync/message"
)

// refusal is a group that the broker will never take.
type refusal struct {
	group  *group
	reason string
}

// Refuse tells that the broker refuses the group for ever. It is split in halves, which are offered again under the same numbers, down to the record;
// that one goes to a bounded bucket of dead records, is counted, and a gap record names it.
func (o *Outbox) Refuse(id uint64, reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.groups.ram[id]
	if g == nil || g.gone || g.refused {
		return
	}
	g.refused, g.place = true, idle
	o.refused = append(o.refused, refusal{g, reason})
	kick(o.disk)
}

// split makes halves, or dead records, of what was refused. Call with mu held.
func (d *diskWorker) split(c *change) {
	o := d.o
	refused := o.refused
	o.refused = nil
	for _, r := range refused {
		if r.group.gone {
			continue
		}
		halves, err := o.halves(r.group)
		if len(halves) == 0 {
			if err != nil {
				r.reason += "; " + err.Error()
			}
			c.dead = append(c.dead, o.deadRecord(r))
		}
		receipt := r.group.receipt
		r.group.receipt = nil
		o.discard(r.group)
		for _, h := range halves {
			o.groups.add(h)
			c.puts = append(c.puts, h)
		}
		if len(halves) > 0 {
			halves[len(halves)-1].receipt = receipt
		} else {
			receipt.resolve(nil) // it is in the bucket of dead records
		}
	}
}

// halves seals a group's records again as two, under their numbers; none if it has only one record.
func (o *Outbox) halves(g *group) ([]*group, error) {
	if g.count == 1 {
		return nil, nil
	}
	dec, err := newDecoder()
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	b, err := openGroup(dec, g.body)
	if err != nil {
		return nil, err
	}
	if len(b.Data.Records) != g.count {
		return nil, fmt.Errorf("the group holds %d records, not %d", len(b.Data.Records), g.count)
	}
	mid := g.count / 2
	var out []*group
	for _, part := range []struct{ from, to int }{{0, mid}, {mid, g.count}} {
		h, err := o.reseal(g, b, part.from, part.to)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

func (o *Outbox) reseal(g *group, b message.Batch, from, to int) (*group, error) {
	h := message.Header{Epoch: b.Data.Epoch, Boot: b.Data.Boot, Agent: b.Data.Agent, ConfigRev: b.Data.ConfigRev}
	h.Group, h.Device, _ = strings.Cut(strings.TrimPrefix(b.Source, "/heron/"), "/")
	if err := json.Unmarshal(b.Data.Clock, &h.Clock); err != nil {
		return nil, fmt.Errorf("read clock quality: %w", err)
	}
	one := &batch{stream: g.stream, since: g.since, until: g.until}
	for _, rec := range b.Data.Records[from:to] {
		body, err := withoutSeq(rec)
		if err != nil {
			return nil, err
		}
		one.recs = append(one.recs, body...)
		one.ends = append(one.ends, len(one.recs))
	}
	half := o.press.group(h, one, g.first+uint64(from), b.Time)
	half.mono, half.boot = g.mono, g.boot
	if g.key != 0 {
		half.key = g.key + uint64(from)
		half.id = half.key
	} else {
		o.num.spareID++
		half.id = spareBit | o.num.spareID
	}
	return half, nil
}

// withoutSeq is the record as it was put: the sealer writes {"seq":n, in front of every one.
func withoutSeq(rec []byte) ([]byte, error) {
	if !bytes.HasPrefix(rec, []byte(`{"seq":`)) {
		return nil, fmt.Errorf("a record does not begin with its number")
	}
	end := bytes.IndexAny(rec, ",}")
	if rec[end] == '}' {
		return []byte("{}"), nil
	}
	return append([]byte{'{'}, rec[end+1:]...), nil
}

const maxDeadBytes = 16 << 10

// deadRecord counts a refused group and describes it for the bucket of dead records.
func (o *Outbox) deadRecord(r refusal) []byte {
	g := r.group
	o.stats.Dropped["poison"] += uint64(g.count)
	if g.stream != message.Audit { // a refused gap record must not make another
		o.addGap(gap{epoch: g.epoch, from: g.first, to: g.first + uint64(g.count) - 1, reason: "poison", lost: uint64(g.count), stream: g.stream})
	}
	d := struct {
		At     time.Time      `json:"at"`
		Reason string         `json:"reason"`
		Epoch  string         `json:"epoch"`
		Seq    uint64         `json:"seq"`
		Stream message.Stream `json:"stream"`
		Body   []byte         `json:"body,omitempty"` // the zstd frame
	}{time.Now().UTC(), r.reason, g.epoch, g.first, g.stream, g.body}
	if len(d.Body) > maxDeadBytes {
		d.Body = nil
	}
	if len(d.Reason) > 200 {
		d.Reason = d.Reason[:200]
	}
	b, _ := json.Marshal(d) // strings, numbers and bytes cannot fail
	return b
}
