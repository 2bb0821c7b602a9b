package fleet

import "time"

// doubtful is for how long a broker may repeat an older document than the one that is known before it is believed.
//
// nats-server 2.15 is why: a subscription that begins while a retained message is written can leave the one before in the server's
// cache, and every subscription of the next two minutes is given that one. A broker may also have been restored from a backup, or a
// device's clock have been set back: so the older one is believed in the end.
const doubtful = 3 * time.Minute

// heard is what is known of the documents of one topic beside the newest.
type heard struct {
	live  bool      // it came as it was published: nothing the broker kept is as sure
	doubt time.Time // since when the broker says otherwise; zero: it does not
}

// believe says whether a document is to be taken. order is that of the new one and the known one, as far as they tell.
func (h *heard) believe(retained bool, order int, now time.Time) bool {
	switch {
	case !retained:
		*h = heard{live: true}
	case order > 0 || order == 0 && !h.live:
		*h = heard{}
	case h.doubt.IsZero():
		h.doubt = now
		return false
	case now.Sub(h.doubt) < doubtful:
		return false
	default:
		*h = heard{}
	}
	return true
}

// memory is what was heard of a device's or group's topics, by the part below it.
type memory map[string]*heard

func (m memory) of(below string) *heard {
	if m[below] == nil {
		m[below] = &heard{}
	}
	return m[below]
}

// settle puts a document in the place of the known one, unless there is reason to doubt it; it returns the one that counts.
// order compares two that are there.
func settle[T any](h *heard, m Message, known *T, read func([]byte) (T, error), order func(a, b *T) int) (*T, error) {
	doc, err := parse(m.Payload, read)
	if err != nil {
		return nil, err
	}
	newer := 1
	if doc != nil && known != nil {
		newer = order(doc, known)
	}
	if !h.believe(m.Retained, newer, time.Now()) {
		return known, nil
	}
	return doc, nil
}
