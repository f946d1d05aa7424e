#pragma once
#include "gguf/gguf_file.h"
#include "text/tokenizer_files.h"

namespace kl {

/// The tokenizer that the metadata of a GGUF model describe, for the vocabularies of the Kimi family (tokenizer.ggml.model
/// "gpt2", tokenizer.ggml.pre "kimi-k2").
///
/// Ranks     the tokens of type "normal" (1), which come first: a token's id is its rank.  GPT-2's alphabet spells their bytes.
/// Merges    are not needed, since a merge makes the token of its two halves put together, and the lower id is merged first;
///           they are checked to have that order.
/// Slots     all later tokens: control (3) is skipped in decoding, user-defined (4) is not, unused (5) has no name.  Behind the
///           family's ranks the rules of kl/tokenizer.h hold for slots without a name and for the tool markers.
/// Errors    Error(kUnsupported) for another tokenizer; kCorrupt naming the key and the entry.
/// Source    the converter of llama.cpp.
TokenizerFiles gguf_tokenizer_files(const GgufFile& gguf);

}  // namespace kl
