#!/usr/bin/env python3
"""Stands in for llama-server in llama.cpp's own server tests: starts `kl serve` with the flags that say the same.

The program is $KL_PROGRAM, the model its bundled one.  Flags that ask for what kl has not (embeddings, LoRA, images,
other models ...) are dropped: the tests that need them are listed in llama_cpp_deselected.txt.
"""
import argparse
import os

SAME = ["--port", "--host", "--alias", "--parallel", "--threads", "--api-key", "--slot-save-path"]
RENAMED = {"--batch-size": "--chunk", "--chat-template-file": "--chat-template"}


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in [*SAME, *RENAMED]:
        parser.add_argument(flag, dest=flag)
    parser.add_argument("--cors-origins", default="*")  # llama-server's default; kl's is none
    parser.add_argument("--ctx-size", type=int)
    parser.add_argument("--kv-unified", action="store_true")
    parser.add_argument("--no-slots", action="store_true")
    asked, _ = parser.parse_known_args()

    command = [os.environ["KL_PROGRAM"], "serve", "--cors-origin", asked.cors_origins]
    for flag in [*SAME, *RENAMED]:
        value = getattr(asked, flag)
        if value is not None:
            command += [RENAMED.get(flag, flag), value]
    if asked.ctx_size:  # of one text; llama-server divides its own by the slots, unless they share it
        slots = 1 if asked.kv_unified else int(getattr(asked, "--parallel") or 1)
        command += ["--ctx-size", str(asked.ctx_size // slots)]
    if asked.no_slots:
        command.append("--no-slots")
    print("llama_server.py:", *command, flush=True)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
