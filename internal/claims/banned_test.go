// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package claims

import "regexp"

// A ban is a phrase that promises more than a machine can keep, and why. Space
// in a phrase matches any space, line breaks included; case does not matter.
type ban struct {
	phrase  *regexp.Regexp
	instead string
}

func banned(pattern, instead string) ban {
	return ban{regexp.MustCompile(`(?i)\b(?:` + pattern + `)`), instead}
}

// who is the subject of the favourite overstatement.
const who = `(?:no[ -]one|nobody|no (?:attacker|adversary|party|person|human|employee|admin(?:istrator)?|operator|government))`

var bans = []ban{
	banned(who+` (?:\w+ )?(?:can|could|will ever|is able to)\b`, "name the party, what stops it, and what is left"),
	banned(`not even (?:the |its |our )?(?:operators?|admin(?:istrator)?s?|we|us|apple|amd|intel|nvidia)\b`, "say which tier of attacker is kept out, and which is not"),
	banned(`impossible\b`, "say what it would take"),
	banned(`guarantee(?:s|d|ing)?\b`, "say what is checked, by whom, and when it fails"),
	banned(`zero[ -]trust (?:needed|required|necessary)`, "name whom the reader trusts"),
	banned(`trustless\b|no trust (?:needed|required|necessary)`, "name whom the reader trusts"),
	banned(`unbreakable|unhackable|uncrackable|bullet-?proof\b|tamper-?proof|fool-?proof`, "say what breaks it and what shows the break"),
	banned(`(?:military|bank|nsa)[ -]grade`, "name the algorithm"),
	banned(`(?:100 ?%|completely|totally|fully|perfectly|absolutely|truly|forever) (?:secure|safe|private|anonymous|confidential|untraceable|unlinkable)`, "say against whom"),
	banned(`(?:perfect|total|absolute|complete) (?:security|privacy|anonymity|secrecy|confidentiality)\b`, "say against whom"),
	banned(`mathematical(?:ly)? (?:prov\w+|guarantee\w*|certain\w*)|provably (?:secure|private|anonymous|confidential)`, "say what was proven, in which model, and what was only tested"),
	banned(`(?:can(?:not|'t)|can never|could never|will never) (?:ever )?be (?:broken|hacked|cracked|compromised|bypassed|stolen|leaked|de-?anonymi[sz]ed|traced|fooled)`, "say by whom, and what it would take"),
	banned(`(?:isolat\w+|protect\w+|secure|safe)[^.]{0,60}(?:includ\w+|incl\.|even|also)[^.]{0,40}\bphysical access`, "physical access is tier 3: it may read what a broken node serves"),
	banned(`quantum[ -](?:proof|safe)\b`, "name the post-quantum half and say that signatures stay classical"),
	banned(`nothing to (?:trust|hide|fear)`, "name whom the reader trusts"),
	banned(`no (?:way|means) (?:for anyone|to ever)\b`, "say what it would take"),
}
