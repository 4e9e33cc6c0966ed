"""What figures, sets of labels and methods are called on a page, in Japanese and in English."""

from collections.abc import Mapping

from ecgclip.report.page import Words

SETS: Mapping[str, Words] = {
    "all": Words("全ラベル（陽性例あり）", "All labels with a positive"),
    "unseen": Words("未学習ラベル（真のゼロショット）", "Unseen labels (strictly zero-shot)"),
    "seen": Words("学習済みラベル（テキスト照合）", "Seen labels (text-prompted)"),
    "n10": Words("陽性10例以上", "10 positives or more"),
    "visible": Words("波形から読めるラベル", "Visible on the ECG"),
    "head": Words("学習陽性100例以上", "Head: 100 or more in training"),
    "medium": Words("学習陽性20〜99例", "Medium: 20 to 99 in training"),
    "tail": Words("学習陽性20例未満", "Tail: fewer than 20 in training"),
    "ptbxl71": Words("PTB-XLの71所見（この中で順位づけ）", "The 71 of PTB-XL (ranked within)"),
    "ptbxl_diag": Words("PTB-XL 診断44所見", "PTB-XL diagnostic (44)"),
    "ptbxl_form": Words("PTB-XL 波形19所見", "PTB-XL form (19)"),
    "ptbxl_rhythm": Words("PTB-XL 調律12所見", "PTB-XL rhythm (12)"),
    "ptbxl_super": Words("PTB-XL 5大分類", "PTB-XL superclasses (5)"),
    "ptbxl_sub": Words("PTB-XL 23小分類", "PTB-XL subclasses (23)"),
}
COMPARED: Mapping[str, Words] = {  # What stands where a set of figures does: the model, and what it has to beat.
    "zero_shot": Words("このモデル", "This model"),
    "prevalence": Words("頻度のみ", "Label frequency alone"),
    "random_tower": Words("未学習の心電図塔", "Untrained ECG tower"),
    "random_probe/p100": Words("線形プローブ、未学習の塔", "Linear probe, untrained tower"),
    "knn": Words("最近傍（kNN）", "Nearest neighbours (kNN)"),
    "linear_probe/p1": Words("線形プローブ、学習患者1 %", "Linear probe, 1 % of patients"),
    "linear_probe/p10": Words("線形プローブ、学習患者10 %", "Linear probe, 10 % of patients"),
    "linear_probe/p100": Words("線形プローブ、学習患者100 %（教師あり）", "Linear probe, all patients (supervised)"),
}
BASELINES: Mapping[str, Words] = {  # What stands in a tile, in few words.
    "prevalence": Words("頻度のみ", "Label frequency"),
    "random_tower": Words("未学習の塔", "Untrained tower"),
    "linear_probe/p100": Words("線形プローブ", "Linear probe"),
}
FIGURES: Mapping[str, Words] = {
    "auroc_macro": Words("AUROC", "AUROC"),
    "auprc_macro": Words("AUPRC", "AUPRC"),
    "top1_macro": Words("top-1 マクロ", "top-1 macro"),
    "top5_macro": Words("top-5 マクロ", "top-5 macro"),
    "top1_micro": Words("top-1 ミクロ", "top-1 micro"),
    "top5_micro": Words("top-5 ミクロ", "top-5 micro"),
    "one_prompt_auroc_macro": Words("AUROC（文1つ）", "AUROC (one prompt)"),
    "f1_macro": Words("F1", "F1"),
    "jaccard_records": Words("Jaccard（記録ごと）", "Jaccard (per record)"),
    "sensitivity_macro": Words("感度", "Sensitivity"),
    "specificity_macro": Words("特異度", "Specificity"),
    "ppv_macro": Words("陽性的中率", "PPV"),
    "sensitivity_at_specificity90_macro": Words("感度（特異度90 %）", "Sens. at 90 % spec."),
}
RANKING = ("auroc_macro", "auprc_macro", "top1_macro", "top5_macro", "top1_micro", "top5_micro")
DECIDING = (
    "f1_macro",
    "jaccard_records",
    "sensitivity_macro",
    "specificity_macro",
    "ppv_macro",
    "sensitivity_at_specificity90_macro",
)
FEW_SHOT: Mapping[str, Words] = {
    "zero_shot": Words("ゼロショット（k = 0）", "Zero-shot (k = 0)"),
    "linear_probe": Words("線形プローブ（テキストから開始）", "Linear probe from the text"),
    "prototype": Words("プロトタイプ", "Prototypes"),
    "tip_adapter": Words("Tip-Adapter", "Tip-Adapter"),
    "tip_adapter_f": Words("Tip-Adapter-F", "Tip-Adapter-F"),
}
PROMPTS: Mapping[str, Words] = {
    "single": Words("名称1つ", "One name"),
    "synonyms": Words("同義語を含む", "With synonyms"),
    "english": Words("英語", "English"),
    "mixed": Words("日本語と英語", "Japanese and English"),
}
GROUPS: Mapping[str, Words] = {
    "QRS": Words("QRS波", "QRS"),
    "axis": Words("電気軸", "Axis"),
    "chambers": Words("心房・心室負荷", "Chambers"),
    "conduction": Words("伝導", "Conduction"),
    "ectopy": Words("期外収縮", "Ectopy"),
    "infarction": Words("梗塞", "Infarction"),
    "ischaemia": Words("虚血", "Ischaemia"),
    "normal": Words("正常", "Normal"),
    "recording": Words("記録", "Recording"),
    "repolarisation": Words("再分極", "Repolarisation"),
    "rhythm": Words("調律", "Rhythm"),
}
SUBGROUPS: Mapping[str, Words] = {
    "age": Words("年齢", "Age"),
    "sex": Words("性別", "Sex"),
    "device": Words("機種", "Device"),
    "site": Words("施設", "Site"),
}
SUBGROUP_NAMES: Mapping[tuple[str, str], Words] = {
    ("sex", "F"): Words("女性", "Women"),
    ("sex", "M"): Words("男性", "Men"),
}
CALIBRATIONS: Mapping[str, Words] = {
    "temperature": Words("温度のみ（全ラベル共通）", "Temperature (one for all)"),
    "platt": Words("Platt（ラベルごと）", "Platt (each label)"),
}
CALIBRATION_FIGURES: Mapping[str, Words] = {
    "ece": Words("ECE（ラベル平均）", "ECE (mean of labels)"),
    "ece_pooled": Words("ECE（一括）", "ECE (pooled)"),
    "brier": Words("Brier", "Brier"),
}
DRIFTS: Mapping[str, Words] = {
    "rate50": Words("50 Hz", "At 50 Hz"),
    "rate250": Words("250 Hz", "At 250 Hz"),
    "seconds5": Words("最初の5秒のみ", "The first 5 s"),
    "noise": Words("雑音 0.1 mVまで", "Noise of up to 0.1 mV"),
    "wander": Words("基線動揺 0.5 mVまで", "Wander of up to 0.5 mV"),
    "gain": Words("感度のずれ 10 %まで", "Gain off by up to 10 %"),
}
RETRIEVAL: Mapping[str, Words] = {
    "ecg_to_text": Words("心電図 → 文", "ECG to text"),
    "text_to_ecg": Words("文 → 心電図", "Text to ECG"),
}
EXAMPLES: Mapping[str, Words] = {
    "best": Words("よく読めた記録", "Read best"),
    "worst": Words("最も読めなかった記録", "Read worst"),
    "label": Words("ラベルごとの例", "By label"),
}
SPLITS: Mapping[str, Words] = {
    "train": Words("学習", "Training"),
    "val": Words("検証", "Validation"),
    "test": Words("テスト", "Test"),
}
RESEARCH = Words(
    "研究用ソフトウェアです。医療機器ではなく、診断や治療の判断に使うことはできません。",
    "Research software. Not a medical device, and not for decisions about diagnosis or treatment.",
)
STRICTLY = Words(
    "学習に使ったラベルを文で照合した成績は「テキスト照合」であり、"
    "学習のどの文にも現れない（未学習の）ラベルだけが厳密な意味でゼロショットです。",
    "A trained label that is scored through its text is text-prompted; only labels that no training text named (unseen) are "
    "zero-shot in the strict sense.",
)


def called(words: Mapping[str, Words], name: str) -> Words:
    """Return what something is called, or its plain name where nobody has given it a better one."""
    return words.get(name, Words(name.replace("_", " "), name.replace("_", " ")))
