package inference

// Spec is what one engine needs to know of a bundle: the manifest with the engine's overrides applied, and the labels read.
type Spec struct {
	Name, Version string
	Digest        string // sha256 of the weights, hex
	Engine        string // the manifest's entry that was chosen
	Input         Input
	Output        Output
	Labels        []string
	Thresholds    Thresholds
	Budget        Budget
}

// ID names the model in records: name@version#first six digits of the weights' digest.
func (s *Spec) ID() string {
	d := s.Digest
	if len(d) > 6 {
		d = d[:6]
	}
	return s.Name + "@" + s.Version + "#" + d
}

// Score is one label with its score, 0…1.
type Score struct {
	Label string  `json:"label"`
	Score float64 `json:"score"`
}

// Unknown is the label of an answer below its threshold.
const Unknown = "unknown"
