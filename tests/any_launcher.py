"""A launcher of our own: `any_launcher.py -n RANKS PROGRAM ...`. It binds nothing."""

import os
import subprocess
import sys


def main(words):
    size, program = int(words[1]), words[2:]
    ranks = [
        subprocess.Popen(
            program,
            env=os.environ | {"PMI_RANK": str(n), "PMI_SIZE": str(size), "MPI_LOCALRANKID": str(n)},
        )
        for n in range(size)
    ]
    return max(abs(rank.wait()) for rank in ranks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
