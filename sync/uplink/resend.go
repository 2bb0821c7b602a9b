package uplink

import "sync"

// resends remembers which groups were sent on a connection that ended before their PUBACK: sent again, they are duplicates.
type resends struct {
	mu  sync.Mutex
	ids map[uint64]struct{}
}

// maxResends bounds the memory; beyond it the count of duplicates, and nothing else, is too low.
const maxResends = 1024

func (r *resends) add(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ids) >= maxResends || r.ids == nil {
		r.ids = map[uint64]struct{}{}
	}
	r.ids[id] = struct{}{}
}

func (r *resends) remove(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, id)
}

func (r *resends) has(id uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.ids[id]
	return ok
}
