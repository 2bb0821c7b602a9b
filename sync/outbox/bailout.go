package outbox

import (
	"fmt"

	"go.etcd.io/bbolt"
)

// bailout is bbolt's logger, and the way out of a commit that fails. When a write or a sync fails, Tx.Commit rolls back by walking the whole tree to
// find the free pages again, in a goroutine of its own: one page that cannot be read, which is likely on a disk that cannot be written, ends
// the process there, whatever guards the caller set. But before that it logs the failure, and there this logger leaves it by a panic. The
// walk is not missed: a store that failed is closed and opened anew.
type bailout struct {
	bbolt.DefaultLogger
	committing bool
}

// commitFailed is the panic.
type commitFailed struct{ cause error }

// Errorf is called by bbolt with what went wrong.
func (l *bailout) Errorf(format string, args ...any) {
	if !l.committing {
		return
	}
	l.committing = false // Commit logs once more on its way out
	for _, a := range args {
		if err, ok := a.(error); ok {
			panic(commitFailed{err})
		}
	}
	panic(commitFailed{fmt.Errorf(format, args...)})
}

// commit commits tx; after an error tx still has to be rolled back, which then walks nothing.
func (l *bailout) commit(tx *bbolt.Tx) (err error) {
	defer func() {
		l.committing = false
		switch r := recover().(type) {
		case nil:
		case commitFailed:
			err = r.cause
		default:
			panic(r)
		}
	}()
	l.committing = true
	return tx.Commit()
}
