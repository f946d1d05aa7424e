#include "chat/builtin_template.h"

namespace kl {

const char* const kBuiltinTemplate = R"template(
{#- What a message says: a string, the texts of a list of parts, or nothing. -#}
{%- macro text(content) -%}
  {%- if content is string -%}
    {{- content -}}
  {%- elif content -%}
    {%- for part in content -%}{{- part.text -}}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}

{%- if tools -%}
  {{- '<|im_system|>tool_declare<|im_middle|>' ~ tools | tojson(separators=(',', ':')) ~ '<|im_end|>' -}}
{%- endif -%}

{%- set calls = namespace(before=0) -%}
{%- for message in messages -%}
  {%- if message.role is not string -%}
    {{- raise_exception('messages[' ~ loop.index0 ~ '].role: expected a string') -}}
  {%- elif message.role == 'user' -%}
    <|im_user|>
  {%- elif message.role == 'assistant' -%}
    <|im_assistant|>
  {%- else -%}
    <|im_system|>
  {%- endif -%}
  {{- message.name or message.role -}}
  <|im_middle|>
  {%- if message.role == 'tool' -%}
    {{- '## Return of ' ~ message.tool_call_id ~ '\n' -}}
  {%- endif -%}
  {{- text(message.content) -}}
  {%- if message.role == 'assistant' and message.tool_calls -%}
    <|tool_calls_section_begin|>
    {%- for call in message.tool_calls -%}
      {%- set function = call.function -%}
      <|tool_call_begin|>
      {{- call.id or 'functions.' ~ function.name ~ ':' ~ calls.before -}}
      <|tool_call_argument_begin|>
      {{- function.arguments if function.arguments is string else function.arguments | tojson(separators=(',', ':')) -}}
      <|tool_call_end|>
      {%- set calls.before = calls.before + 1 -%}
    {%- endfor -%}
    <|tool_calls_section_end|>
  {%- endif -%}
  <|im_end|>
{%- endfor -%}

{%- if add_generation_prompt -%}
  <|im_assistant|>assistant<|im_middle|>
{%- endif -%}
)template";

}  // namespace kl
