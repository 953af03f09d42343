"""Chinese-CLIP (Yang et al., 2022): photos, and words in Chinese.

The image tower is a ViT or a ResNet, the text tower a RoBERTa whose first token's last state stands
for the text.
"""
