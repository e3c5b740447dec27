"""The data room: from files on disk to batches of images, and which image comes next, from any step.

`images` is its front door (reading pictures, opening data sets); `augment` turns a picture into what the model sees;
`batches` lines them up.
"""
