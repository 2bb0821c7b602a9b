package inference

// Manifest is a bundle's manifest.json (docs/contract.md, "Model bundle"). Unknown fields are refused:
// a published bundle is signed, and a surprise there is an error.
type Manifest struct {
	V          int           `json:"v"`
	Name       string        `json:"name"`
	Version    string        `json:"version"`
	Created    string        `json:"created,omitempty"`
	Dataset    string        `json:"dataset,omitempty"`
	Task       string        `json:"task,omitempty"`
	Files      []File        `json:"files,omitempty"`
	Engines    []EngineEntry `json:"engines"`
	Input      Input         `json:"input"`
	Output     Output        `json:"output"`
	Labels     string        `json:"labels"` // file name
	Thresholds Thresholds    `json:"thresholds,omitzero"`
	Golden     []Golden      `json:"golden,omitempty"`
	Baseline   string        `json:"baseline,omitempty"` // file name
	Accuracy   *Accuracy     `json:"accuracy,omitempty"`
	Budget     *Budget       `json:"budget,omitempty"`
	Targets    []string      `json:"targets,omitempty"`
	License    string        `json:"license,omitempty"`
}

// File is one file of the bundle with its digest.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Role   string `json:"role,omitempty"`
}

// EngineEntry names the file for one engine, in order of preference; Input and Output, where set, replace the manifest's.
type EngineEntry struct {
	Engine    string  `json:"engine"`
	File      string  `json:"file"`
	Precision string  `json:"precision,omitempty"`
	Input     *Input  `json:"input,omitempty"`
	Output    *Output `json:"output,omitempty"`
}

// Input says how a picture becomes the input tensor: pixel 0…255 → (pixel − mean[c]) / std[c] → for uint8 and int8 q = clamp(round(real / scale) + zero_point).
type Input struct {
	Name   string    `json:"name,omitempty"` // empty: the model's only input
	Width  int       `json:"width"`
	Height int       `json:"height"`
	Layout string    `json:"layout"` // NHWC, NCHW
	DType  DType     `json:"dtype"`
	Color  string    `json:"color,omitempty"`  // RGB (default), BGR, GRAY
	Mean   []float64 `json:"mean,omitempty"`   // a number per channel; absent is 0
	Std    []float64 `json:"std,omitempty"`    // absent is 1
	Quant  *Quant    `json:"quant,omitempty"`  // for uint8 and int8; absent for uint8 without mean and std: the pixel itself
	Resize string    `json:"resize,omitempty"` // stretch (default), crop, letterbox
	Pad    *int      `json:"pad,omitempty"`    // letterbox's grey, 0…255; absent is 114
	Filter string    `json:"filter,omitempty"` // bilinear (default; OpenCV's INTER_LINEAR), area
}

// Output says how the output tensor becomes scores: real = (q − zero_point) · scale, then softmax where Kind is logits.
type Output struct {
	Name  string `json:"name,omitempty"`  // empty: the model's only output
	Kind  string `json:"kind"`            // probabilities, logits
	DType DType  `json:"dtype,omitempty"` // float32 (default), uint8, int8
	Quant *Quant `json:"quant,omitempty"` // for uint8 and int8, and needed there
}

// Quant is affine quantisation.
type Quant struct {
	Scale     float64 `json:"scale"`
	ZeroPoint int     `json:"zero_point"`
}

// Thresholds: a best score below its label's is reported as "unknown".
type Thresholds struct {
	Default  float64            `json:"default"`
	PerLabel map[string]float64 `json:"per_label,omitempty"`
}

// Golden is an input whose answer is known.
type Golden struct {
	Input     string  `json:"input"` // a picture in the bundle
	Top1      string  `json:"top1"`
	Score     float64 `json:"score"`
	Tolerance float64 `json:"tolerance"`
}

// Accuracy is what the trainer measured on pictures the training never saw.
type Accuracy struct {
	HeldOut float64 `json:"held_out"` // 0…1
	N       int     `json:"n"`
	Detail  string  `json:"detail,omitempty"`
}

// Budget is what a device must hold.
type Budget struct {
	LatencyMS float64 `json:"latency_ms,omitempty"`
	RSSMB     float64 `json:"rss_mb,omitempty"`
}
