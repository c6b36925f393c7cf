"""Poses by MediaPipe from files, in an environment that has it and nothing of this project: peers.py starts it.

    python peers_mediapipe.py COMPLEXITY

Each line of standard input is a list of paths in JSON; each is answered by a line of JSON: "poses", of each photograph
33 landmarks (x, y), its pixels with centres at integers, or null where no person is found, and "seconds" of the
processor. The first line that it writes, before it reads one, tells that it is ready.
"""
import json
import sys
import time

import cv2
import mediapipe
import numpy as np


def main(complexity):
    with mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=int(complexity)) as pose:
        pose.process(np.zeros((200, 100, 3), np.uint8))  # the first picture is slow
        answer({"version": mediapipe.__version__})
        for line in sys.stdin:
            begun = time.process_time()
            poses = [landmarks(pose, path) for path in json.loads(line)]
            answer({"poses": poses, "seconds": time.process_time() - begun})


def landmarks(pose, path):
    image = cv2.imread(path)
    found = pose.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).pose_landmarks
    if found is None:
        return None
    height, width = image.shape[:2]
    return [(each.x * width - 0.5, each.y * height - 0.5) for each in found.landmark]  # which are shares of the sides


def answer(content):
    print(json.dumps(content), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
