// Package docs reads the Markdown of this repository, so that tests can check what it says: README.md, and all below docs and test.
//
// It knows as much of Markdown as these pages use: fenced blocks, code spans, headings, and links in parentheses.
package docs
