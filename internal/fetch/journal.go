package fetch

import (
	"encoding/json"

	"heron/internal/slotfile"
)

// record is what the journal says of a part.
type record struct {
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	Done      int64  `json:"done"`                // bytes that were synced
	Validator string `json:"validator,omitempty"` // the strong ETag or the Last-Modified of the object they are from
	From      string `json:"from,omitempty"`      // which mirror's it is (a digest of its URL, which may be secret)
	Mixed     bool   `json:"mixed,omitempty"`     // bytes of several mirrors: a wrong digest is nobody's fault
}

// journal says of a part how much of it is on the disk for certain.
type journal struct{ f *slotfile.File }

func openJournal(path string) (*journal, error) {
	f, err := slotfile.Open(path)
	if err != nil {
		return nil, err
	}
	return &journal{f}, nil
}

// read gives the newest record that is whole, or nothing.
func (j *journal) read() record {
	text, _, err := j.f.Read()
	if err != nil {
		return record{}
	}
	return parseRecord(text)
}

func parseRecord(text []byte) (r record) {
	if json.Unmarshal(text, &r) != nil {
		return record{}
	}
	return r
}

func (j *journal) write(r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return j.f.Write(text)
}
