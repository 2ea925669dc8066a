// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package filter

// A position says how the names inside a value are to be read. Names mean
// something only where an engine gives them meaning: "url" in a text is text.
type position uint8

const (
	plain     position = iota // nothing special but media names
	top                       // the request itself
	messages                  // the array of messages, and each message
	content                   // the array of parts of one message
	part                      // one part: text, image, audio
	media                     // the value of a media member
	schema                    // a tool, a schema, a response format: names are keywords
	schemaMap                 // an object whose names are the user's and whose values are schemas
	literals                  // data quoted inside a schema: names mean nothing
	bias                      // logit_bias
	template                  // chat_template_kwargs
)

// A check says what a scalar under a name has to be.
type check uint8

const (
	anything   check = iota
	refuse           // the member may not be there at all
	number           // a number in [min, max], or null
	integer          // the same without fraction or exponent
	count            // integer or boolean (logprobs is either)
	boolean          // true, false or null
	data             // a string that begins with data:, or an object or array of them
	regex            // a regular expression of bounded cost
	grammar          // a string of bounded length
	localRef         // a reference inside the same document: "#..."
	structured       // anything but a string (a string would be parsed again, unseen)
	modelName        // the model
	list             // a string, or an array of at most max strings or numbers
	batch            // an array holds at most max values that are not numbers
	part0            // a member that may not be in a content part, null excepted
)

// A rule is the check for one name, and the position of what lies below it.
type rule struct {
	check    check
	pos      position
	min, max float64
}

// known are the top-level members that the filter reads. All others pass.
// Engines differ in whether they fold case (encoding/json does), so another
// spelling of one of these names is refused.
//
// Source: OpenAI's API reference; the request classes of vLLM and SGLang;
// llama.cpp's server README; Ollama's openai package.
var known = map[string]rule{
	"messages": {check: structured, pos: messages},
	"prompt":   {check: batch, max: 2048},
	"input":    {check: batch, max: 2048},
	"stream":   {check: boolean},

	// Sampling: numbers, never strings ("NaN" is a number to a lax parser).
	"temperature":        {check: number, min: 0, max: 100},
	"top_p":              {check: number, min: 0, max: 1},
	"min_p":              {check: number, min: 0, max: 1},
	"typical_p":          {check: number, min: 0, max: 1},
	"top_k":              {check: integer, min: -1, max: 1 << 24},
	"frequency_penalty":  {check: number, min: -100, max: 100},
	"presence_penalty":   {check: number, min: -100, max: 100},
	"repetition_penalty": {check: number, min: 0, max: 100},
	"repeat_penalty":     {check: number, min: 0, max: 100},
	"length_penalty":     {check: number, min: -100, max: 100},
	"seed":               {check: integer, min: -(1 << 63), max: 1 << 63},
	"mirostat":           {check: integer, min: 0, max: 2},
	"mirostat_tau":       {check: number, min: 0, max: 100},
	"mirostat_eta":       {check: number, min: 0, max: 100},

	// How much work one request may be. Maxima of 0 come from Options.
	"n":                      {check: integer, min: 1},
	"best_of":                {check: integer, min: 1},
	"max_tokens":             {check: integer, min: 0},
	"max_completion_tokens":  {check: integer, min: 0},
	"max_new_tokens":         {check: integer, min: 0},
	"n_predict":              {check: integer, min: 0},
	"num_predict":            {check: integer, min: 0},
	"min_tokens":             {check: integer, min: 0},
	"thinking_budget_tokens": {check: integer, min: -1},
	"n_probs":                {check: integer, min: 0, max: 100},
	"logprobs":               {check: count, min: 0, max: 100},
	"top_logprobs":           {check: integer, min: 0, max: 100},
	"prompt_logprobs":        {check: integer, min: 0, max: 20},
	"dimensions":             {check: integer, min: 1, max: 1 << 16},
	"truncate_prompt_tokens": {check: integer, min: -1, max: 1 << 24},
	"stop":                   {check: list, max: 64},
	"stop_token_ids":         {check: list, max: 4096},
	"allowed_token_ids":      {check: list, max: 1 << 18},
	"bad_words":              {check: list, max: 1024},
	"logit_bias":             {check: structured, pos: bias},

	// Grammars and schemas, which an engine compiles.
	"tools":              {check: structured, pos: schema},
	"functions":          {check: structured, pos: schema},
	"response_format":    {check: structured, pos: schema},
	"structured_outputs": {check: structured, pos: schema},
	"guided_json":        {check: structured, pos: schema},
	"json_schema":        {check: structured, pos: schema},
	"structural_tag":     {check: structured, pos: schema},
	"guided_regex":       {check: regex},
	"regex":              {check: regex},
	"guided_grammar":     {check: grammar},
	"grammar":            {check: grammar},
	"ebnf":               {check: grammar},

	"chat_template_kwargs": {check: structured, pos: template},

	"model": {check: modelName},

	// What reaches past the request: code, other machines, other requests.
	"chat_template":          {check: refuse}, // a Jinja program (TN-10)
	"logits_processors":      {check: refuse}, // vLLM: names of Python objects
	"custom_logit_processor": {check: refuse}, // SGLang: a pickled function
	"custom_params":          {check: refuse}, // SGLang: its arguments
	"mm_processor_kwargs":    {check: refuse}, // vLLM: arguments of Python code
	"vllm_xargs":             {check: refuse}, // vLLM: arguments of plug-ins
	"kv_transfer_params":     {check: refuse}, // vLLM: host and port to fetch a cache from
	"bootstrap_host":         {check: refuse}, // SGLang: the same
	"bootstrap_port":         {check: refuse},
	"bootstrap_room":         {check: refuse},
	"prompt_embeds":          {check: refuse}, // serialised tensors
	"guided_decoding_backend": {
		check: refuse, // chooses the parser that an attacker knows
	},
	"priority":           {check: refuse}, // over other people's requests
	"data_parallel_rank": {check: refuse},
	"request_id":         {check: refuse}, // collides with, or cancels, another's
	"rid":                {check: refuse},
	"session_params":     {check: refuse}, // SGLang: continues another's session
	"session_id":         {check: refuse},
	"id_slot":            {check: refuse}, // llama.cpp: another's cache (TN-07)
	"slot_id":            {check: refuse},
	"lora":               {check: refuse}, // adapters are measured or not there
	"lora_path":          {check: refuse},
	"lora_request":       {check: refuse},
	"keep_alive":         {check: refuse}, // Ollama: loads and unloads models
	"cache_prompt":       {check: refuse}, // llama.cpp: the node decides (TN-01)
	"cache_salt":         {check: refuse}, // always one of the node's own members
	"extra_key":          {check: refuse}, // SGLang's other name for a salt
}

// mediaNames hold something an engine would fetch, anywhere but in a schema.
// Only data: passes: a fetch tells the world what is being read, and lets a
// request reach the node's own network (SSRF).
var mediaNames = map[string]bool{
	"image_url": true, "video_url": true, "audio_url": true, "file_url": true,
	"image": true, "images": true, "video": true, "audio": true,
}

// partNames may not be in a part of a message. A uuid names an entry of the
// engine's media cache, which all tenants share; the others are tensors.
var partNames = map[string]bool{
	"uuid": true, "image_embeds": true, "audio_embeds": true, "video_embeds": true, "prompt_embeds": true,
	"file_id": true, "cache_salt": true,
}

// keywords of JSON Schema (2020-12) and of the engines' wrappers around it.
var keywords = map[string]rule{
	"properties":        {pos: schemaMap},
	"$defs":             {pos: schemaMap},
	"definitions":       {pos: schemaMap},
	"dependentSchemas":  {pos: schemaMap},
	"patternProperties": {pos: schemaMap, check: regex}, // its names are expressions
	"default":           {pos: literals},
	"const":             {pos: literals},
	"enum":              {pos: literals},
	"examples":          {pos: literals},
	"example":           {pos: literals},
	"$ref":              {pos: schema, check: localRef},
	"$dynamicRef":       {pos: schema, check: localRef},
	"$recursiveRef":     {pos: schema, check: localRef},
	"pattern":           {pos: schema, check: regex},
	"regex":             {pos: schema, check: regex},
	"grammar":           {pos: schema, check: grammar},
	"ebnf":              {pos: schema, check: grammar},
	"json":              {pos: schema, check: structured},
	"schema":            {pos: schema, check: structured},
	"json_schema":       {pos: schema, check: structured},
	"parameters":        {pos: schema, check: structured},
	"structural_tag":    {pos: schema, check: structured},
	"minItems":          {pos: schema, check: number, min: 0, max: maxSchemaCount},
	"maxItems":          {pos: schema, check: number, min: 0, max: maxSchemaCount},
	"minLength":         {pos: schema, check: number, min: 0, max: maxSchemaCount},
	"maxLength":         {pos: schema, check: number, min: 0, max: maxSchemaCount},
	"minProperties":     {pos: schema, check: number, min: 0, max: maxSchemaCount},
	"maxProperties":     {pos: schema, check: number, min: 0, max: maxSchemaCount},
	"minContains":       {pos: schema, check: number, min: 0, max: maxSchemaCount},
	"maxContains":       {pos: schema, check: number, min: 0, max: maxSchemaCount},
	"backend":           {check: refuse}, // vLLM: as guided_decoding_backend
	"_backend":          {check: refuse},
}

// templateNames may not be arguments of a chat template: they are the template
// itself, or arguments of the function that applies it.
var templateNames = map[string]bool{
	"chat_template": true, "tokenize": true, "tokenizer": true, "conversation": true, "truncation": true,
	"padding": true, "max_length": true, "return_tensors": true, "return_dict": true, "tokenizer_kwargs": true,
}
